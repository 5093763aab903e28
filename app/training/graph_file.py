"""Graphs on disk: model.onnx, with every large weight in model.onnx.data, page-aligned.

onnxruntime maps external data whose offsets are multiples of a page, and workers then share it; weights inside
model.onnx are copied to each worker's heap.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE
from app.encoding import Array
from app.errors import ConfigurationError
from app.schema import ROW_REQUEST, SCORE, FeatureSchema, is_id, trailing_shape
from app.training.weights import Place, is_external, place_of, point, size_bytes

ALIGNMENT_BYTES = 4096
EXTERNAL_FROM_BYTES = 1024
# A weight of a ready graph that is at least as large stays in its file.
LARGE_BYTES = 1 << 26
_COPY_BYTES = 1 << 24
_NOT_WHOLE_BYTES = {
    *(onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.INT2, onnx.TensorProto.UINT2),
    *(onnx.TensorProto.FLOAT4E2M1, onnx.TensorProto.FLOAT6E2M3, onnx.TensorProto.FLOAT6E3M2),
    onnx.TensorProto.STRING,
}


def write_graph(model: onnx.ModelProto, folder: Path) -> None:
    """Write model.onnx and model.onnx.data; the model is left as it was, and equal models give equal bytes.

    Weights in other files are copied from file to file.
    """
    light = onnx.ModelProto()
    light.CopyFrom(model)
    with (folder / GRAPH_DATA_FILE).open("wb") as data:
        _write_weights(light.graph.initializer, data)
    (folder / GRAPH_FILE).write_bytes(light.SerializeToString(deterministic=True))


def append_weights(tensors: Iterable[onnx.TensorProto], folder: Path) -> None:
    """Write weights behind those of model.onnx.data, and let them say, in place, where their values are."""
    with (folder / GRAPH_DATA_FILE).open("ab") as data:
        _write_weights(tensors, data)


def _write_weights(tensors: Iterable[onnx.TensorProto], data: BinaryIO) -> None:
    for tensor in tensors:
        content = place_of(tensor) if is_external(tensor) else _content(tensor)
        if content is None:
            continue
        data.write(bytes(-data.tell() % ALIGNMENT_BYTES))
        start = data.tell()
        if isinstance(content, Place):
            _copy(content, data)
        else:
            data.write(content)
        point(tensor, Place(Path(GRAPH_DATA_FILE), start, data.tell() - start))


def read_graph(path: Path, large_bytes: int = LARGE_BYTES) -> onnx.ModelProto:
    """A graph with its external data; weights of `large_bytes` or more stay in their files, as absolute locations.

    Raises ConfigurationError when it is absent or no ONNX graph.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        # By its path: the bytes of a large graph, in one piece, are more than the checker takes.
        onnx.checker.check_model(path)
        large = [
            one for one in model.graph.initializer if _may_stay(one) and place_of(one).length >= large_bytes
        ]
        places = [_checked_place(tensor, path.parent) for tensor in large]
        for tensor in large:
            tensor.data_location = onnx.TensorProto.DEFAULT
        onnx.load_external_data_for_model(model, str(path.parent))
        for tensor, place in zip(large, places, strict=True):
            point(tensor, place)
    except FileNotFoundError:
        raise ConfigurationError(f"the graph {path.name}, or its external data, does not exist") from None
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0].replace(f"{path.parent}/", "")
        raise ConfigurationError(f"{path.name} is not an ONNX graph that can be used: {reason}") from error
    return model


def check_contract(model: onnx.ModelProto, schema: FeatureSchema, without: Collection[str] = ()) -> None:
    """Compare a graph with the graph contract, in which the features `without` have no input.

    Raises ConfigurationError naming the input or output that differs.
    """
    inputs = {one.name: one.type.tensor_type for one in model.graph.input}
    wanted = {one.name: (is_id(one), (None, *trailing_shape(one))) for one in schema.features}
    wanted = {name: what for name, what in wanted.items() if name not in without}
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


def _content(tensor: onnx.TensorProto) -> bytes | None:
    """The bytes of a weight that the graph holds; None where they are few enough to stay there."""
    values: Array = onnx.numpy_helper.to_array(tensor)
    if values.nbytes < EXTERNAL_FROM_BYTES:
        return None
    # Types of 4 bits are packed, two to a byte, which `values` is not.
    return bytes(
        tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.from_array(values).raw_data
    )


def _copy(place: Place, target: BinaryIO) -> None:
    with place.path.open("rb") as source:
        source.seek(place.offset)
        left = place.length
        while left:
            part = source.read(min(left, _COPY_BYTES))
            if not part:
                raise ConfigurationError(f"{place.path.name} ends before the weights that it should hold")
            target.write(part)
            left -= len(part)


def _may_stay(tensor: onnx.TensorProto) -> bool:
    return is_external(tensor) and tensor.data_type not in _NOT_WHOLE_BYTES


def _checked_place(tensor: onnx.TensorProto, folder: Path) -> Place:
    """Where a weight that stays in its file is; the checker has seen that the file is within the folder."""
    found = place_of(tensor)
    place = Place((folder / found.path).absolute(), found.offset, found.length)
    if place.length != size_bytes(tensor) or place.path.stat().st_size < place.offset + place.length:
        raise ValueError(f"{found.path} does not hold {size_bytes(tensor):,} bytes of {tensor.name!r}")
    return place
