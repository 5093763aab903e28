"""Indices that a step has made of a feature's: which row of a shorter table each of them has become.

`drop_rows` keeps indices below an end and looks them up in a list of slots. Steps that come after it, and weigh rows by
their look-ups, go the same way with the indices of the training rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from app.encoding import Array
from app.training.weights import is_external

# They give the indices that their first input holds, in their order or in another one.
_CARRIES = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"}


@dataclass(frozen=True)
class IndexMap:
    """One feature's indices, and what becomes of them on the way to a look-up."""

    feature: str
    steps: tuple[tuple[str, Array], ...]
    """In order: ("Min", the most that an index may be) or ("Gather", what stands in the place of each index)."""

    def rows(self, indices: Array) -> Array:
        """Rows of the table, int64, in the place of the feature's indices."""
        for kind, values in self.steps:
            indices = np.minimum(indices, values) if kind == "Min" else values[indices]
        return indices.astype(np.int64)


def index_map(indices: str, model: onnx.ModelProto) -> IndexMap | None:
    """How the value follows from the indices of one feature, each by itself; None where it does in any other way."""
    makers = {output: node for node in model.graph.node for output in node.output}
    weights = {one.name: one for one in model.graph.initializer if not is_external(one)}
    inputs = {one.name for one in model.graph.input} - {one.name for one in model.graph.initializer}
    steps: list[tuple[str, Array]] = []
    value = indices
    while value not in inputs:
        node = makers.get(value)
        if node is None:
            return None
        if node.op_type not in _CARRIES:
            step = _step(node, weights)
            if step is None:
                return None
            value, values = step
            steps.append((node.op_type, values))
        else:
            value = node.input[0]
    return IndexMap(value, tuple(reversed(steps)))


def _step(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> tuple[str, Array] | None:
    """The value that a node reads, and the constants that it changes each number of it by."""
    constant = [name for name in node.input if name in weights]
    changing = [name for name in node.input if name not in weights]
    if len(constant) != 1 or len(changing) != 1:
        return None
    values = numpy_helper.to_array(weights[constant[0]])
    if node.op_type == "Min" and values.size == 1:
        return changing[0], values.reshape(())
    first = not any(one.name == "axis" and one.i for one in node.attribute)
    if node.op_type == "Gather" and node.input[0] == constant[0] and values.ndim == 1 and first:
        return changing[0], values
    return None
