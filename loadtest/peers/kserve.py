"""KServe's Python server: a custom model behind its V1 protocol."""

from pathlib import Path
from typing import Any

from loadtest.asks import Ask, body_of
from loadtest.servers import Items, Server, plain_items


def _command(folder: Path, port: int) -> list[str]:
    quiet = ("--enable_grpc=false", "--enable_docs_url=false", "--enable_latency_logging=false")
    flags = (f"--http_port={port}", *quiet)
    return ["env", f"RANKER_FOLDER={folder}", str(SERVER.python), "-m", "loadtest.peers.kserve_app", *flags]


def _body(ask: Ask, variant: str) -> dict[str, Any]:
    return {"instances": [body_of(ask, variant)]}


def _items(answer: Any) -> Items:
    return plain_items(answer["predictions"][0])


SERVER = Server(
    name="kserve",
    command=_command,
    path="/v1/models/rank:predict",
    body=_body,
    items=_items,
    requirements=("kserve==0.21.0", "onnxruntime==1.32.0"),
    note=(
        "one worker, uvloop, an async predict, V1 protocol with JSON, gRPC, access log and latency log off "
        "(kserve.github.io: python_runtime_api; its latency log is on by default)"
    ),
)
