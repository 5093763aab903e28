"""Weights of a graph, wherever their bytes are: in the graph itself or in a file beside it.

A graph in memory may leave large weights in files: their `location` is then an absolute path. They are read some rows
at a time, so that no step has to hold a table in memory. They are read and not mapped, because the pages of a map
count as memory of the process until it is closed.
"""

import tempfile
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


def inline_tensor(name: str, values: Array) -> onnx.TensorProto:
    """A weight whose values are in the graph."""
    return onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)


class NewWeight:
    """A weight [rows, ...] that is made some rows at a time.

    It goes to a file of its own in `folder`; without one it is kept in memory, and so in the graph.
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: type[np.generic], folder: Path | None
    ) -> None:
        self.name = name
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._parts: list[Array] = []
        self._path = None if folder is None else _free_path(folder)

    def append(self, rows: Array) -> None:
        """The next rows, [some, ...]."""
        assert rows.dtype == self.dtype
        if self._path is None:
            self._parts.append(rows)
            return
        with self._path.open("ab") as file:
            np.ascontiguousarray(rows).tofile(file)

    def tensor(self) -> onnx.TensorProto:
        """The weight, when every row was given."""
        if self._path is None:
            return inline_tensor(self.name, np.concatenate(self._parts).reshape(self.shape))
        kind = onnx.helper.np_dtype_to_tensor_dtype(self.dtype)
        tensor = onnx.TensorProto(name=self.name, data_type=kind, dims=self.shape)
        length = self._path.stat().st_size
        assert length == size_bytes(tensor), f"{self.name}: {length} bytes were written"
        point(tensor, Place(self._path, 0, length))
        return tensor


def mapped(tensor: onnx.TensorProto) -> Array:
    """The values of an external weight, mapped: only what is looked at is read."""
    place = place_of(tensor)
    shape = tuple(tensor.dims)
    return np.memmap(place.path, dtype=dtype_of(tensor), mode="r", offset=place.offset, shape=shape)


def _free_path(folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".weight", delete=False) as file:
        return Path(file.name)
