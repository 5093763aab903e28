"""onnxruntime's own quantizers, which read and write files, as functions from graph to graph."""

import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import onnx

from app.compression.graph import dense_nodes, last_dense_nodes, name_nodes
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.weights import is_external, mapped

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
    aside = set_aside(copy)
    if not dense_to_quantize(copy):
        raise CompressionFailed(f"{what}: the graph has no dense layer to quantize besides the last one")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "quantized.onnx"
        try:
            quantize(copy, target)
        except (ValueError, RuntimeError, TypeError, onnx.checker.ValidationError) as error:
            raise CompressionFailed(f"{what}: {str(error).splitlines()[0]}") from error
        made = onnx.load(target)
    put_back(made, aside)
    return made


def dense_to_quantize(model: onnx.ModelProto) -> list[str]:
    """Names of the dense nodes but the last ones: the layers that give the score stay in float."""
    last = {node.name for node in last_dense_nodes(model)}
    return [node.name for node in dense_nodes(model) if node.name not in last]


def to_leave(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that a quantizer must leave as they are."""
    names = [node.name for node in last_dense_nodes(model)]
    return names + [name + _REWRITTEN for name in names]


def aside(model: onnx.ModelProto) -> dict[str, Array]:
    """The weights in files, mapped: inputs of the copy that a quantizer is given."""
    return {one.name: mapped(one) for one in model.graph.initializer if is_external(one)}


def set_aside(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Make inputs of the weights in files, in place: quantizers write and load the whole graph several times."""
    external = [one for one in model.graph.initializer if is_external(one)]
    kept = [one for one in model.graph.initializer if not is_external(one)]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for one in external:
        model.graph.input.append(onnx.helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)))
    return external


def put_back(model: onnx.ModelProto, tensors: list[onnx.TensorProto]) -> None:
    """Make weights again, in place, of what `set_aside` made inputs of."""
    names = {one.name for one in tensors}
    inputs = [one for one in model.graph.input if one.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.graph.initializer.extend(tensors)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the quantizers say out of a job's log.

    They warn on the root logger that a graph was not optimized first, which the exporter has done, and print what they
    calibrate.
    """

    def silent(record: logging.LogRecord) -> bool:
        return "pre-process" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(silent)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeFilter(silent)
