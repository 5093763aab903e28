"""Ray Serve: one replica behind its HTTP proxy."""

from pathlib import Path

from loadtest.servers import Server


def _command(folder: Path, port: int) -> list[str]:
    return [str(SERVER.python), "-m", "loadtest.peers.ray_serve_app", str(folder), str(port)]


SERVER = Server(
    name="ray serve",
    command=_command,
    path="/rank",
    requirements=("ray[serve]==2.60.0", "onnxruntime==1.32.0", "numpy==2.4.6"),
    environment={
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        # Its guide to high throughput: HAProxy, which its wheels bring, in place of the proxy in Python;
        # user code and router on the replica's own loop, buffered logs.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
    },
    note=(
        "one replica, an async deployment, RAY_SERVE_ENABLE_HA_PROXY=1 and RAY_SERVE_THROUGHPUT_OPTIMIZED=1, no access "
        "log, no serve.batch (docs.ray.io: kuberay/user-guides/serve-high-throughput)"
    ),
)
