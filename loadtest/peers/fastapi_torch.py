"""The naive way without an export: the same FastAPI route around torch in eager mode. fp32 only."""

from pathlib import Path

from loadtest.prepare import BENCH, WORK
from loadtest.servers import Server


def _command(folder: Path, port: int) -> list[str]:
    model = WORK / "models" / BENCH
    return [str(SERVER.python), "-m", "loadtest.peers.fastapi_torch_app", str(folder), str(model), str(port)]


SERVER = Server(
    name="fastapi + torch",
    command=_command,
    path="/rank",
    only=f"{BENCH}/baseline",
    note="the same with the torch module in eager mode, one thread, inference mode",
)
