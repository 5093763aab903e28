"""Cross-layer equalization: ranges of weights moved between two layers, neuron by neuron, for the same function.

relu(s x) = s relu(x) for s > 0, so what makes a neuron may be divided by s where what reads it is multiplied by s
(Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, arXiv 1906.04721,
section 4.1).
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.compression.graph import DENSE_OPERATORS, axis_of_outputs, dense_nodes, last_dense_nodes, value_uses
from app.encoding import Array

# They look at each neuron alone, and a positive factor passes through them.
_HOMOGENEOUS = ("Relu", "LeakyRelu", "Identity")


@dataclass(frozen=True)
class Slices:
    """The slices of a tensor along one axis, one for each neuron."""

    tensor: str
    axis: int


@dataclass(frozen=True)
class Pair:
    """Hidden neurons: what makes them, and the one layer that reads them."""

    weights: tuple[Slices, ...]
    """Of every layer whose products are added up: the two sides of a first layer are two."""
    biases: tuple[Slices, ...]
    reader: Slices


def equalize(values: dict[str, Array], pairs: list[Pair], rounds: int, *, powers_of_two: bool) -> int:
    """Balance the ranges of both sides of every pair, in place; gives the number of factors that were not 1.

    A round goes over all pairs: a layer that reads one pair and makes another is balanced with both. Factors that are
    powers of two change no digit of a product.
    """
    changed = 0
    for _ in range(rounds):
        factors = [_balance(values, pair, powers_of_two=powers_of_two) for pair in pairs]
        moved = sum(int((one != 1).sum()) for one in factors)
        changed += moved
        if not moved:
            break
    return changed


def _balance(values: dict[str, Array], pair: Pair, *, powers_of_two: bool) -> Array:
    made = np.max([_largest(values[one.tensor], one.axis) for one in pair.weights], axis=0)
    read = _largest(values[pair.reader.tensor], pair.reader.axis)
    used = (made > 0) & (read > 0)
    factors = np.sqrt(np.where(used, made, 1) / np.where(used, read, 1), dtype=np.float32)
    if powers_of_two:
        factors = np.exp2(np.rint(np.log2(factors)))
    for one in (*pair.weights, *pair.biases):
        values[one.tensor] = values[one.tensor] / _along(factors, values[one.tensor], one.axis)
    reader = pair.reader
    values[reader.tensor] = values[reader.tensor] * _along(factors, values[reader.tensor], reader.axis)
    return factors


def _largest(tensor: Array, axis: int) -> Array:
    others = tuple(one for one in range(tensor.ndim) if one != axis)
    return np.asarray(np.abs(tensor).max(axis=others, initial=0.0), dtype=np.float64)


def _along(factors: Array, tensor: Array, axis: int) -> Array:
    return factors.reshape([-1 if one == axis else 1 for one in range(tensor.ndim)])


def find_pairs(model: onnx.ModelProto) -> list[Pair]:
    """Every pair of a graph, in its order; layers that give the score are no readers, so that they stay as they are."""
    return _Search(model).pairs()


class _Search:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.makers = {output: node for node in model.graph.node for output in node.output}
        self.stored = {one.name: one for one in model.graph.initializer}

    @cached_property
    def uses(self) -> Counter[str]:
        return value_uses(self.model)

    def pairs(self) -> list[Pair]:
        last = [node.output[0] for node in last_dense_nodes(self.model)]
        found = []
        for node in dense_nodes(self.model):
            reader = self._weight(node, of_inputs=True)
            if node.output[0] in last or reader is None:
                continue
            weights: list[Slices] = []
            biases: list[Slices] = []
            width = self.stored[reader.tensor].dims[reader.axis]
            if self._trace(node.input[0], width, weights, biases):
                found.append(Pair(tuple(weights), tuple(biases), reader))
        return found

    def _trace(self, value: str, width: int, weights: list[Slices], biases: list[Slices]) -> bool:
        """Go back from a value to the layers that make it; whether a factor for each neuron can pass all the way."""
        node = self.makers.get(value)
        if node is None or self.uses[value] != 1:
            return False
        if node.op_type in _HOMOGENEOUS or _picks_rows(node):
            return self._trace(node.input[0], width, weights, biases)
        if node.op_type == "Add":
            return all(self._summand(one, width, weights, biases) for one in node.input)
        weight = self._weight(node, of_inputs=False)
        if weight is None:
            return False
        weights.append(weight)
        has_bias = node.op_type == "Gemm" and len(node.input) > 2 and bool(node.input[2])
        return not has_bias or self._bias(node.input[2], width, biases)

    def _summand(self, value: str, width: int, weights: list[Slices], biases: list[Slices]) -> bool:
        if value in self.stored:
            return self._bias(value, width, biases)
        return self._trace(value, width, weights, biases)

    def _bias(self, name: str, width: int, biases: list[Slices]) -> bool:
        """Whether a tensor has a number for each neuron, and nothing else reads it."""
        shape = list(self.stored[name].dims) if name in self.stored else []
        if self.uses[name] != 1 or not shape or shape[-1] != width or np.prod(shape) != width:
            return False
        biases.append(Slices(name, len(shape) - 1))
        return True

    def _weight(self, node: onnx.NodeProto, *, of_inputs: bool) -> Slices | None:
        """The weight of a dense node by inputs or outputs; None where it is shared or turned in an odd way."""
        if node.op_type not in DENSE_OPERATORS or node.input[1] not in self.stored:
            return None
        settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        odd = settings.get("transA", 0) or len(self.stored[node.input[1]].dims) != 2
        if odd or self.uses[node.input[1]] != 1:
            return None
        axis = axis_of_outputs(node, rank=2)
        return Slices(node.input[1], 1 - axis if of_inputs else axis)


def _picks_rows(node: onnx.NodeProto) -> bool:
    """A Gather of whole rows: what is computed once per request is spread over the candidates."""
    axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
    return bool(node.op_type == "Gather" and axis == 0)


def stored_values(model: onnx.ModelProto, pairs: list[Pair]) -> dict[str, Array]:
    """The values of every tensor that the pairs are about."""
    names = {one.tensor for pair in pairs for one in (*pair.weights, *pair.biases, pair.reader)}
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer if one.name in names}
