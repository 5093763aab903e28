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
        # Its guide to high throughput: user code and router on the replica's own loop, buffered logs.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    },
    note="one replica, one proxy, an async deployment, RAY_SERVE_THROUGHPUT_OPTIMIZED=1, no access log",
)
