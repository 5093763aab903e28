"""The naive way without an export: the same FastAPI route around torch in eager mode. fp32 only."""

from pathlib import Path

from loadtest.servers import ROOT, Server


def _command(folder: Path, port: int) -> list[str]:
    checkpoint = ROOT / "models" / "movielens" / "checkpoint.safetensors"
    where = ("-m", "loadtest.peers.fastapi_torch_app", str(folder), str(checkpoint), str(port))
    return [str(SERVER.python), *where]


SERVER = Server(
    name="fastapi + torch",
    command=_command,
    path="/rank",
    only="baseline",
    note="the same with torch in eager mode, one thread, inference mode",
)
