"""BentoML: a service with one worker."""

from pathlib import Path

from loadtest.servers import Server


def _command(folder: Path, port: int) -> list[str]:
    program = str(SERVER.home / "bin" / "bentoml")
    where = "loadtest.peers.bentoml_app:Rank"
    return [
        "env",
        f"RANKER_FOLDER={folder}",
        program,
        "serve",
        where,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]


SERVER = Server(
    name="bentoml",
    command=_command,
    path="/rank",
    requirements=(
        "bentoml==1.4.40",
        "onnxruntime==1.32.0",
        "numpy==2.4.6",
        # It runs under uvicorn, which takes these when they are there.
        "uvloop==0.22.1",
        "httptools==0.7.1",
    ),
    environment={"BENTOML_DO_NOT_TRACK": "True"},
    note=(
        "one worker, no access log, metrics as they come, uvloop and httptools (docs.bentoml.com: "
        "reference/bentoml/configurations); its adaptive batching was not measured"
    ),
)
