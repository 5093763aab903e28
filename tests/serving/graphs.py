"""Small graphs that do not belong to the small model."""

from pathlib import Path

import onnx
from app.artifact import GRAPH_FILE
from onnx import TensorProto, helper


def write_graph(
    folder: Path,
    *,
    read: str = "price",
    give: str = "score",
    kind: int = TensorProto.FLOAT,
    shape: tuple[int | str, ...] = ("rows",),
) -> None:
    """A graph that gives one of its inputs as it is."""
    source = helper.make_tensor_value_info(read, kind, shape)
    result = helper.make_tensor_value_info(give, kind, shape)
    graph = helper.make_graph([helper.make_node("Identity", [read], [give])], "echo", [source], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / GRAPH_FILE)


def write_no_graph(folder: Path) -> None:
    (folder / GRAPH_FILE).write_bytes(b"this is not a graph")
