"""Dense layers of a graph as matrices, and how a technique puts two thin ones in the place of one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.compression.graph import dense_nodes, last_dense_nodes
from app.encoding import Array
from app.training.weights import read_rows


@dataclass(frozen=True)
class DenseLayer:
    """A weight, and the nodes that multiply their inputs by it, all in the same way."""

    nodes: tuple[onnx.NodeProto, ...]
    weight: Array
    """What an input is multiplied by, float64 [inputs, outputs]."""

    @property
    def name(self) -> str:
        """Name of the weight in the graph."""
        return str(self.nodes[0].input[1])


def hidden_dense_layers(model: onnx.ModelProto) -> list[DenseLayer]:
    """The layers of float32 weights in graph order, but for the last ones: those that give the score."""
    last = {node.output[0] for node in last_dense_nodes(model)}
    weights = {one.name: one for one in model.graph.initializer}
    readers: dict[tuple[Any, ...], list[onnx.NodeProto]] = {}
    for node in dense_nodes(model):
        tensor, settings = weights[node.input[1]], _settings(node)
        is_matrix = tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
        if is_matrix and node.output[0] not in last and not settings.get("transA", 0):
            way = (tensor.name, settings.get("transB", 0), settings.get("alpha", 1.0))
            readers.setdefault(way, []).append(node)
    layers = []
    for (name, transposed, alpha), nodes in readers.items():
        values = read_rows(weights[name], 0, int(weights[name].dims[0])).astype(np.float64) * alpha
        layers.append(DenseLayer(tuple(nodes), values.T if transposed else values))
    return layers


@dataclass(frozen=True)
class Thin:
    """What takes the place of a layer's weight."""

    first: Array
    """[inputs, rank]."""
    second: Array
    """[rank, outputs]."""
    shift: Array
    """Added to what the product of both gives, [outputs]."""


def replace_dense(model: onnx.ModelProto, layer: DenseLayer, thin: Thin) -> None:
    """Let the layer's nodes multiply by two thin weights, in place; the old one stays for whoever else may read it."""
    stored = {one.name: one for one in model.graph.initializer}
    stem = layer.nodes[0].output[0]
    names = (f"{stem}.first", f"{stem}.second")
    new = [_tensor(name, values) for name, values in zip(names, (thin.first, thin.second), strict=True)]
    outputs = {node.output[0] for node in layer.nodes}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if not node.output or node.output[0] not in outputs:
            nodes.append(node)
            continue
        added = thin.shift
        if _bias(node) in stored:
            added = added + numpy_helper.to_array(stored[_bias(node)]) * _settings(node).get("beta", 1.0)
        nodes += _thin_nodes(node, names, absorbed=_bias(node) in stored, adds=bool(added.any()))
        if added.any():
            new.append(_tensor(f"{node.output[0]}.bias", added))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(new)


def _thin_nodes(
    node: onnx.NodeProto, weights: tuple[str, str], *, absorbed: bool, adds: bool
) -> Iterator[onnx.NodeProto]:
    """Nodes that give what `node` gave: `absorbed` says that its own bias is part of the new one, if there is one."""
    output, (first, second) = node.output[0], weights
    bias = f"{output}.bias"
    yield _made("MatMul", [node.input[0], first], f"{output}.inner")
    left = "" if absorbed else _bias(node)
    if node.op_type == "Gemm" and not left:
        yield _made("Gemm", [f"{output}.inner", second, *([bias] if adds else [])], output)
        return
    product = f"{output}.product" if adds else output
    if left:
        added = _made("Gemm", [f"{output}.inner", second, left], product)
        added.attribute.append(helper.make_attribute("beta", _settings(node).get("beta", 1.0)))
        yield added
    else:
        yield _made("MatMul", [f"{output}.inner", second], product)
    if adds:
        yield _made("Add", [product, bias], output)


def _made(kind: str, sources: list[str], target: str) -> onnx.NodeProto:
    return helper.make_node(kind, sources, [target], name=f"{kind}_{target}")


def _bias(node: onnx.NodeProto) -> str:
    return str(node.input[2]) if len(node.input) > 2 else ""


def _settings(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _tensor(name: str, values: Array) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name)
