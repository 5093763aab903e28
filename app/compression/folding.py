"""A dense layer over fields side by side, as a sum of what each field adds to it: W [a; b] = W_a a + W_b b.

What a field adds is moved to where it costs least, and no score changes but by rounding. A field that is looked up by
each candidate is looked up already multiplied: its table times its slice of the weights. A field that is one request's
is multiplied once per request, and spread over the candidates afterwards. A field that is a dense layer itself, without
an activation, is multiplied by the product of both weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.compression.tables import index_features
from app.encoding import Array
from app.schema import ROW_REQUEST
from app.training.weights import read_rows


@dataclass(frozen=True)
class Field:
    """A share of a dense layer: `value` [..., width] times `weight`, float64 [width, out]."""

    value: str
    weight: Array


@dataclass(frozen=True)
class View:
    """What is known of a graph while its layers are rewritten; the graph itself stays as it is."""

    makers: Mapping[str, onnx.NodeProto]
    weights: Mapping[str, onnx.TensorProto]
    inputs: frozenset[str]
    per_candidate: frozenset[str]
    """The inputs that have a value for each candidate."""
    shapes: Mapping[str, tuple[int | None, ...]]
    max_growth: float
    """How many times its own width a table may have when it is folded."""
    max_spread: float
    """How many times their own width values of a request may have when they are spread over the candidates."""

    def matrix(self, name: str) -> Array | None:
        """A float32 weight of two dimensions, as float64; None for any other value."""
        if not self.is_matrix(name):
            return None
        tensor = self.weights[name]
        return read_rows(tensor, 0, int(tensor.dims[0])).astype(np.float64)

    def is_matrix(self, name: str) -> bool:
        """Whether the value is a float32 weight of two dimensions."""
        tensor = self.weights.get(name)
        return tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2

    def vector(self, name: str) -> Array | None:
        """A float32 weight of one dimension, as float64; None for any other value."""
        tensor = self.weights.get(name)
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 1:
            return None
        return read_rows(tensor, 0, int(tensor.dims[0])).astype(np.float64)

    def features(self, indices: str) -> frozenset[str]:
        """The inputs that the indices are; none where they are computed."""
        return frozenset(index_features(indices, self.makers, set(self.inputs)) or ())

    def reshaped_from(self, value: str) -> str:
        """The value that reshaping there and back gave this one from; itself where there is none."""
        matrix = self.shapes.get(value, ())
        source = value
        while (node := self.makers.get(source)) is not None and node.op_type in ("Reshape", "Identity"):
            source = node.input[0]
            # Equal rows of equal length are the same matrix, whatever stood between.
            if len(matrix) == 2 and matrix[1] and self.shapes.get(source, ())[1:] == matrix[1:]:
                value = source
        return value

    def widths(self, values: Sequence[str], total: int) -> list[int] | None:
        """Last dimensions, of which at most one need not be known; None where they cannot be `total` together."""
        found = [(self.shapes.get(value) or (None,))[-1] for value in values]
        unknown = [at for at, one in enumerate(found) if one is None]
        left = total - sum(one or 0 for one in found)
        if len(unknown) == 1 and left > 0:
            found[unknown[0]], left = left, 0
        return [int(one) for one in found if one is not None] if left == 0 and None not in found else None


@dataclass(frozen=True)
class Linear:
    """A node that multiplies the last dimension of `value` by a weight of the graph, and adds a bias."""

    value: str
    weight: Array
    bias: Array


def linear(node: onnx.NodeProto | None, view: View) -> Linear | None:
    """The node as a dense layer of fixed weights; None where it is not one."""
    if node is None or node.op_type not in ("Gemm", "MatMul") or node.domain:
        return None
    weight = view.matrix(node.input[1])
    if weight is None:
        return None
    found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if found.get("transA", 0) or found.get("alpha", 1.0) != 1.0 or found.get("beta", 1.0) != 1.0:
        return None
    weight = weight.T if found.get("transB", 0) else weight
    if len(node.input) < 3 or not node.input[2]:
        return Linear(node.input[0], weight, np.zeros(weight.shape[1]))
    bias = view.vector(node.input[2])
    if bias is None or len(bias) not in (1, weight.shape[1]):
        return None
    return Linear(node.input[0], weight, np.broadcast_to(bias, weight.shape[1]))


@dataclass
class Folding:
    """One dense layer on its way to a sum: the nodes and weights that take its place."""

    view: View
    output: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    changes: int = 0
    """How many fields are no longer multiplied where they were; a layer without any is left as it is."""
    through: set[str] = field(default_factory=set)
    """Fields that were dense layers themselves, and need not be computed any more."""

    def fold(self, layer: Linear) -> None:
        """Make the nodes that give `output`."""
        before = len(self.nodes)
        total = self._sum(self._terms([Field(layer.value, layer.weight)], layer.bias))
        assert len(self.nodes) > before
        for node in self.nodes:
            if node.output[0] == total:
                node.output[0] = self.output

    def _terms(self, fields: Sequence[Field], bias: Array) -> list[str]:
        """The values whose sum is the product of all fields, and the bias."""
        waiting, rest = list(fields), list[Field]()
        lookups, spread = list[tuple[onnx.NodeProto, Array]](), dict[str, list[tuple[Field, Field]]]()
        while waiting:
            one = waiting.pop(0)
            one = Field(self.view.reshaped_from(one.value), one.weight)
            node = self.view.makers.get(one.value)
            if parts := self._side_by_side(node, one.weight):
                waiting[:0] = parts
            elif node is not None and self._may_be_looked_up(node, one.weight):
                lookups.append((node, one.weight))
            elif node is not None and self._is_spread(node):
                spread.setdefault(node.input[1], []).append((one, Field(node.input[0], one.weight)))
            elif (inner := linear(node, self.view)) and inner.weight.shape[0] <= one.weight.shape[0]:
                waiting.insert(0, Field(inner.value, inner.weight @ one.weight))
                bias = bias + inner.bias @ one.weight
                self.through.add(one.value)
                self.changes += 1
            else:
                rest.append(one)
        for indices in [at for at, fields in spread.items() if not self._may_be_spread_later(fields)]:
            rest += [as_it_is for as_it_is, _ in spread.pop(indices)]
        self.changes += len(lookups) + len(spread)
        terms = []
        none = np.zeros_like(bias)
        # The bias goes to the first of them that is there: each adds one row to every row of the result.
        if rest:
            terms.append(self._dense(rest, bias))
            bias = none
        for node, weight in lookups:
            terms.append(self._lookup(node, weight, bias))
            bias = none
        for indices, fields_of_request in spread.items():
            inner_sum = self._sum(self._terms([inner for _, inner in fields_of_request], bias))
            terms.append(self._node("Gather", [inner_sum, indices], axis=0))
            bias = none
        return terms

    def _side_by_side(self, node: onnx.NodeProto | None, weight: Array) -> list[Field]:
        """The fields of a Concat along the last dimension, each with its slice of the weights."""
        if node is None or node.op_type != "Concat":
            return []
        axis = next(int(one.i) for one in node.attribute if one.name == "axis")
        rank = len(self.view.shapes.get(node.output[0]) or ())
        widths = self.view.widths(node.input, len(weight))
        if widths is None or not (axis == -1 or (rank and axis == rank - 1)):
            return []
        parts = np.split(weight, np.cumsum(widths)[:-1])
        return [Field(value, part) for value, part in zip(node.input, parts, strict=True)]

    def _may_be_looked_up(self, node: onnx.NodeProto, weight: Array) -> bool:
        if not _gathers_rows(node) or not self.view.is_matrix(node.input[0]):
            return False
        if not self.view.features(node.input[1]) & self.view.per_candidate:
            return False  # one product for a whole request costs next to nothing, and its table would grow
        return bool(weight.shape[1] <= self.view.max_growth * weight.shape[0])

    def _is_spread(self, node: onnx.NodeProto) -> bool:
        return (
            _gathers_rows(node)
            and node.input[0] not in self.view.weights
            and self.view.features(node.input[1]) == {ROW_REQUEST}
        )

    def _may_be_spread_later(self, fields: Sequence[tuple[Field, Field]]) -> bool:
        """All fields of one request together: what is spread behind the layer is as wide as the layer, only once."""
        width = sum(len(one.weight) for one, _ in fields)
        return bool(fields[0][0].weight.shape[1] <= self.view.max_spread * width)

    def _lookup(self, node: onnx.NodeProto, weight: Array, bias: Array) -> str:
        table = self.view.matrix(node.input[0])
        assert table is not None
        return self._node("Gather", [self._weight(table @ weight + bias), node.input[1]], axis=0)

    def _dense(self, fields: Sequence[Field], bias: Array) -> str:
        values = [one.value for one in fields]
        value = values[0] if len(values) == 1 else self._node("Concat", values, axis=-1)
        weight = self._weight(np.concatenate([one.weight for one in fields]))
        if not bias.any():
            return self._node("MatMul", [value, weight])
        if len(self.view.shapes.get(values[0]) or ()) == 2:
            return self._node("Gemm", [value, weight, self._weight(bias)])
        return self._node("Add", [self._node("MatMul", [value, weight]), self._weight(bias)])

    def _sum(self, terms: Sequence[str]) -> str:
        return terms[0] if len(terms) == 1 else self._node("Sum", terms)

    def _node(self, kind: str, sources: Sequence[str], **attributes: int) -> str:
        target = f"{self.output}.{kind.lower()}_{len(self.nodes)}"
        node = helper.make_node(kind, sources, [target], f"{kind}_{target}")
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return target

    def _weight(self, values: Array) -> str:
        name = f"{self.output}.weight_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name


def _gathers_rows(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gather" and not any(one.name == "axis" and one.i != 0 for one in node.attribute)
