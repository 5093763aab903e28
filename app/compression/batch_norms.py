"""Batch normalization as part of the dense layer beside it: in inference it is a factor and an addend for each channel.

With y = x * s + t, a layer before gives (a W + b) * s + t = a (W s) + (b s + t), and one after it reads
y W + b = x (s W) + (t W + b). Both are dense layers with other weights, so scores differ by rounding alone (Ioffe and
Szegedy, arXiv 1502.03167).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.compression.folded_layers import view_of
from app.compression.folding import Linear, View, linear
from app.compression.graph import remove_unused, value_uses
from app.encoding import Array
from app.schema import FeatureSchema

_EPSILON = 1e-5
"""What ONNX takes where the node does not say."""


@dataclass(frozen=True)
class _Affine:
    """`output = value * factor + addend`, channel by channel."""

    value: str
    output: str
    factor: Array
    addend: Array


def fold_batch_norms(model: onnx.ModelProto, schema: FeatureSchema) -> None:
    """Put every batch normalization over [rows, channels] into a dense layer beside it, in place, if there is one."""
    while _fold_one(model, view_of(model, schema, max_growth=0)):
        remove_unused(model)


def _fold_one(model: onnx.ModelProto, view: View) -> bool:
    uses = value_uses(model)
    for node in model.graph.node:
        affine = _affine(node, view)
        if affine is None:
            continue
        layers = _before(affine, view, uses) or _after(affine, model, view, uses)
        if layers:
            _replace(model, layers)
            return True
    return False


def _affine(node: onnx.NodeProto, view: View) -> _Affine | None:
    """What a node does to each channel; None where it is anything but a batch normalization of fixed numbers."""
    if node.op_type != "BatchNormalization" or node.domain or len(view.shapes.get(node.input[0], ())) != 2:
        return None
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    given = [view.vector(name) for name in node.input[1:5]]
    if settings.get("training_mode", 0) or any(one is None for one in given):
        return None
    scale, bias, mean, variance = (np.asarray(one) for one in given)
    factor = scale / np.sqrt(variance + settings.get("epsilon", _EPSILON))
    return _Affine(node.input[0], node.output[0], factor, bias - mean * factor)


def _before(affine: _Affine, view: View, uses: Counter[str]) -> dict[str, Linear]:
    """The layer that gives what is normalized, and gives it to nothing else, by the value it shall give."""
    value, bias = affine.value, np.zeros(1)
    node = view.makers.get(value)
    if node is not None and node.op_type == "Add" and uses[value] == 1:
        addends = [view.vector(name) for name in node.input]
        found = next((one for one in addends if one is not None), None)
        if found is None:
            return {}
        bias = found
        value = next(name for name, one in zip(node.input, addends, strict=True) if one is None)
        node = view.makers.get(value)
    layer = linear(node, view)
    if layer is None or uses[value] != 1:
        return {}
    shifted = (layer.bias + bias) * affine.factor + affine.addend
    return {affine.output: Linear(layer.value, layer.weight * affine.factor, shifted)}


def _after(affine: _Affine, model: onnx.ModelProto, view: View, uses: Counter[str]) -> dict[str, Linear]:
    """The layers that read what was normalized, where they are all that reads it, each by what it gives."""
    layers = {}
    readers = [node for node in model.graph.node if affine.output in node.input]
    for node in readers:
        layer = linear(node, view)
        if layer is None or layer.value != affine.output:
            return {}
        weight = affine.factor[:, None] * layer.weight
        layers[node.output[0]] = Linear(affine.value, weight, layer.bias + affine.addend @ layer.weight)
    return layers if uses[affine.output] == len(readers) else {}


def _replace(model: onnx.ModelProto, layers: dict[str, Linear]) -> None:
    """Let a Gemm give each of these values, in place."""
    nodes = []
    for node in model.graph.node:
        layer = layers.get(node.output[0]) if node.output else None
        nodes.append(node if layer is None else _gemm(model, layer, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _gemm(model: onnx.ModelProto, layer: Linear, output: str) -> onnx.NodeProto:
    names = (f"{output}.normalized_weight", f"{output}.normalized_bias")
    for name, values in zip(names, (layer.weight, layer.bias), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return helper.make_node("Gemm", [layer.value, *names], [output], name=f"Gemm_{output}")
