"""Weights of a graph, wherever their bytes are: in the graph itself or in a file beside it.

A graph in memory may leave large weights in files: their `location` is then an absolute path. They are read some rows
at a time, so that no step has to hold a table in memory. They are read and not mapped, because the pages of a map
count as memory of the process until it is closed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from app.encoding import Array


@dataclass(frozen=True)
class Place:
    """Where the bytes of a weight are."""

    path: Path
    offset: int
    length: int


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the values are in a file, and not in the graph."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def place_of(tensor: onnx.TensorProto) -> Place:
    """Where the values of an external weight are; a relative location is as the graph on disk has it."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    length = int(entries["length"]) if "length" in entries else size_bytes(tensor)
    return Place(Path(entries["location"]), int(entries.get("offset", 0)), length)


def point(tensor: onnx.TensorProto, place: Place) -> None:
    """Let the tensor say where its values are, in place, instead of holding them."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    del tensor.external_data[:]
    entries = {"location": str(place.path), "offset": str(place.offset), "length": str(place.length)}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def size_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the values of a weight whose type fills whole bytes, without reading them."""
    return int(np.prod(tensor.dims, dtype=np.int64)) * dtype_of(tensor).itemsize


def dtype_of(tensor: onnx.TensorProto) -> np.dtype[np.generic]:
    """The numpy type of its values."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))


def read_rows(tensor: onnx.TensorProto, start: int, stop: int) -> Array:
    """Rows `start` to `stop` of a weight, [stop - start, ...], without reading the others from their file."""
    if not is_external(tensor):
        values: Array = onnx.numpy_helper.to_array(tensor)[start:stop]
        return values
    place, dtype = place_of(tensor), dtype_of(tensor)
    width = int(np.prod(tensor.dims[1:], dtype=np.int64))
    stop = min(stop, tensor.dims[0])
    offset = place.offset + start * width * dtype.itemsize
    found = np.fromfile(place.path, dtype=dtype, count=(stop - start) * width, offset=offset)
    return found.reshape(stop - start, *tensor.dims[1:])
