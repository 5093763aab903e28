"""LitServe: a LitAPI with one worker."""

from pathlib import Path

from loadtest.servers import Server


def _command(folder: Path, port: int) -> list[str]:
    return [str(SERVER.python), "-m", "loadtest.peers.litserve_app", str(folder), str(port)]


SERVER = Server(
    name="litserve",
    command=_command,
    path="/predict",
    requirements=("litserve==0.2.19", "onnxruntime==1.32.0", "numpy==2.4.6"),
    note=(
        "one worker on the CPU, fast_queue (its reference: for more than 100 requests per second); "
        "max_batch_size 8 (lightning.ai/docs/litserve: features/batching) saved no time in a short run"
    ),
)
