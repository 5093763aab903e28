"""MLServer: a custom runtime behind the Open Inference Protocol."""

import json
from pathlib import Path
from typing import Any

from loadtest.asks import Ask, body_of
from loadtest.servers import Items, Server, free_port, plain_items


def _command(folder: Path, port: int) -> list[str]:
    home = folder / "mlserver"
    home.mkdir(exist_ok=True)
    settings = {
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "host": "127.0.0.1",
        # In one process: no hop to a worker.
        "parallel_workers": 0,
        "debug": False,
        "gzip_enabled": False,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "rank",
        "implementation": "loadtest.peers.mlserver_app.Rank",
        "parameters": {"uri": str(folder)},
    }
    (home / "model-settings.json").write_text(json.dumps(model))
    return [str(SERVER.home / "bin" / "mlserver"), "start", str(home)]


def _body(ask: Ask, variant: str) -> dict[str, Any]:
    request = json.dumps(body_of(ask, variant))
    return {"inputs": [{"name": "request", "shape": [1], "datatype": "BYTES", "data": [request]}]}


def _items(answer: Any) -> Items:
    return plain_items(json.loads(answer["outputs"][0]["data"][0]))


SERVER = Server(
    name="mlserver",
    command=_command,
    path="/v2/models/rank/infer",
    body=_body,
    items=_items,
    # It runs under uvicorn, which takes httptools when it is there.
    requirements=("mlserver==1.7.1", "onnxruntime==1.32.0", "numpy==2.4.6", "httptools==0.7.1"),
    note=(
        "custom runtime in the server's process (parallel_workers 0), JSON as a BYTES tensor, debug and gzip off, "
        "uvloop and httptools (docs.seldon.ai/mlserver: user-guide/parallel-inference); adaptive batching, off by "
        "default, saved no time in a short run"
    ),
)
