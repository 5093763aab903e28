"""PyTriton: NVIDIA's Triton server, which its wheel ships, in front of a Python function."""

import sysconfig
from pathlib import Path
from typing import Any

from loadtest.asks import Ask
from loadtest.servers import Items, Server, free_port


def _command(folder: Path, port: int) -> list[str]:
    ports = [str(port), str(free_port()), str(free_port())]
    return [str(SERVER.python), "-m", "loadtest.peers.pytriton_app", str(folder), *ports]


def _body(ask: Ask, variant: str) -> dict[str, Any]:  # noqa: ARG001  (it holds one graph only)
    return {
        "inputs": [
            {"name": "user_id", "shape": [1, 1], "datatype": "BYTES", "data": [ask.user_id]},
            {
                "name": "candidates",
                "shape": [1, len(ask.candidates)],
                "datatype": "BYTES",
                "data": list(ask.candidates),
            },
            {"name": "k", "shape": [1, 1], "datatype": "INT32", "data": [ask.k]},
        ]
    }


def _items(answer: Any) -> Items:
    outputs = {one["name"]: one["data"] for one in answer["outputs"]}
    return list(zip(outputs["item_id"], outputs["score"], strict=True))


SERVER = Server(
    name="pytriton",
    command=_command,
    path="/v2/models/rank/infer",
    body=_body,
    items=_items,
    requirements=("nvidia-pytriton==0.7.0", "onnxruntime==1.32.0"),
    # Its stub loads the shared library of Python, and must find that of the interpreter it was installed with.
    environment={"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))},
    note=(
        "one inference function, Triton's dynamic batcher with at most 8 requests and no delay, tensors as JSON, no "
        "CPU or GPU gauges (triton-inference-server.github.io/pytriton: binding_configuration)"
    ),
)
