"""The naive way: a FastAPI route that calls onnxruntime, as most people would write it first."""

from pathlib import Path

from loadtest.servers import Server


def _command(folder: Path, port: int) -> list[str]:
    return [str(SERVER.python), "-m", "loadtest.peers.fastapi_app", str(folder), str(port)]


SERVER = Server(
    name="fastapi",
    command=_command,
    path="/rank",
    note="pydantic models, a plain function as route (thread pool), uvicorn with uvloop and httptools, one worker",
)
