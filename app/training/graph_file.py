"""Graphs on disk: model.onnx, with every large weight in model.onnx.data, page-aligned.

onnxruntime maps external data whose offsets are multiples of a page, and workers then share it; weights inside
model.onnx are copied to each worker's heap.
"""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE
from app.encoding import Array
from app.errors import ConfigurationError
from app.schema import ROW_REQUEST, SCORE, FeatureSchema, is_id, trailing_shape

ALIGNMENT_BYTES = 4096
EXTERNAL_FROM_BYTES = 1024


def write_graph(model: onnx.ModelProto, folder: Path) -> None:
    """Write model.onnx and model.onnx.data; the model is left as it was, and equal models give equal bytes."""
    light = onnx.ModelProto()
    light.CopyFrom(model)
    offset = 0
    with (folder / GRAPH_DATA_FILE).open("wb") as data:
        for tensor in light.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.nbytes < EXTERNAL_FROM_BYTES:
                continue
            content = _raw_bytes(tensor, values)
            data.write(bytes(-offset % ALIGNMENT_BYTES))
            offset += -offset % ALIGNMENT_BYTES
            data.write(content)
            _point(tensor, offset, len(content))
            offset += len(content)
    (folder / GRAPH_FILE).write_bytes(light.SerializeToString(deterministic=True))


def read_graph(path: Path) -> onnx.ModelProto:
    """A graph with its external data. Raises ConfigurationError when it is absent or no ONNX graph."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise ConfigurationError(f"the graph {path.name}, or its external data, does not exist") from None
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0].replace(f"{path.parent}/", "")
        raise ConfigurationError(f"{path.name} is not an ONNX graph that can be used: {reason}") from error
    return model


def check_contract(model: onnx.ModelProto, schema: FeatureSchema) -> None:
    """Compare a graph with the graph contract. Raises ConfigurationError naming the input or output that differs."""
    inputs = {one.name: one.type.tensor_type for one in model.graph.input}
    wanted = {one.name: (is_id(one), (None, *trailing_shape(one))) for one in schema.features}
    wanted[ROW_REQUEST] = (True, (None,))
    if unknown := sorted(inputs.keys() - wanted.keys()):
        raise ConfigurationError(f"the graph has an input {unknown[0]!r}, which the schema does not have")
    for name, (integer, shape) in wanted.items():
        if name not in inputs:
            raise ConfigurationError(f"the graph has no input {name!r}")
        dtype = onnx.TensorProto.INT64 if integer else onnx.TensorProto.FLOAT
        _check_tensor(f"input {name!r}", inputs[name], dtype, shape)
    outputs = {one.name: one.type.tensor_type for one in model.graph.output}
    if list(outputs) != [SCORE]:
        raise ConfigurationError(f"the graph must have one output, {SCORE!r}; it has: {', '.join(outputs)}")
    _check_tensor(f"output {SCORE!r}", outputs[SCORE], onnx.TensorProto.FLOAT, (None,))


def count_parameters(folder: Path) -> int:
    """Number of elements of all weights of a graph on disk; their values are not read."""
    model = onnx.load(folder / GRAPH_FILE, load_external_data=False)
    return int(sum(np.prod(one.dims, dtype=np.int64) for one in model.graph.initializer))


def _check_tensor(what: str, found: onnx.TypeProto.Tensor, dtype: int, shape: tuple[int | None, ...]) -> None:
    name = onnx.TensorProto.DataType.Name
    if found.elem_type != dtype:
        raise ConfigurationError(f"the graph's {what} is {name(found.elem_type)} and must be {name(dtype)}")
    sizes = [one.dim_value if one.HasField("dim_value") else None for one in found.shape.dim]
    if len(sizes) != len(shape) or sizes[0] is not None or sizes[1:] != list(shape[1:]):
        shown = ["any" if one is None else one for one in shape]
        raise ConfigurationError(
            f"the graph's {what} must have the shape {shown} with a first dimension that varies"
        )


def _raw_bytes(tensor: onnx.TensorProto, values: Array) -> bytes:
    # Types of 4 bits are packed, two to a byte, which `values` is not.
    return tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.from_array(values).raw_data


def _point(tensor: onnx.TensorProto, offset: int, length: int) -> None:
    """Let the tensor say where in the data file its bytes are, instead of holding them."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", GRAPH_DATA_FILE), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
