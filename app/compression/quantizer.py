"""onnxruntime's own quantizers, which read and write files, as functions from graph to graph."""

import io
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import onnx

from app.compression.graph import dense_nodes, last_dense_nodes, name_nodes
from app.compression.weights_aside import put_back, set_aside
from app.errors import CompressionFailed

# In its integer form onnxruntime rewrites a Gemm to a MatMul of this name before it looks at the exclusions.
_REWRITTEN = "_MatMul"


def quantized(
    model: onnx.ModelProto, what: str, quantize: Callable[[onnx.ModelProto, Path], None]
) -> onnx.ModelProto:
    """Give `quantize` a copy of the model, whose nodes all have names, and a path; what it wrote there is the result.

    Weights in files are inputs of the copy, so a dense layer of that size stays in float.

    Raises CompressionFailed when there is no dense layer to quantize, or the quantizer cannot do its work.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    name_nodes(copy)
    external = set_aside(copy)
    if not dense_to_quantize(copy):
        raise CompressionFailed(f"{what}: the graph has no dense layer to quantize besides the last one")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "quantized.onnx"
        try:
            quantize(copy, target)
        except (ValueError, RuntimeError, TypeError, onnx.checker.ValidationError) as error:
            raise CompressionFailed(f"{what}: {str(error).splitlines()[0]}") from error
        made = onnx.load(target)
    put_back(made, external)
    return made


def dense_to_quantize(model: onnx.ModelProto) -> list[str]:
    """Names of the dense nodes but the last ones: the layers that give the score stay in float."""
    last = {node.name for node in last_dense_nodes(model)}
    return [node.name for node in dense_nodes(model) if node.name not in last]


def all_but(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """Names of the dense nodes besides these layers, as a quantizer must be told to leave them as they are."""
    names = [node.name for node in dense_nodes(model) if node.name not in layers]
    return names + [name + _REWRITTEN for name in names]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the quantizers say out of a job's log.

    They tell the root logger each value that has no fixed range, warn there that a graph was not optimized first, which
    the exporter has done, and print what they calibrate. Our own lines come by loggers of their own.
    """

    def silent(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO and "pre-process" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(silent)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeFilter(silent)
