"""A Gemm as a MatMul and an Add: the same numbers, in the form that weight-only quantization knows."""

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.compression.graph import dense_nodes, value_uses
from app.encoding import Array
from app.errors import CompressionFailed


def without_gemm(model: onnx.ModelProto, leave: Collection[str]) -> onnx.ModelProto:
    """A copy in which every Gemm with a weight of the graph, but those named in `leave`, is a MatMul and an Add.

    Nodes must have names. `transB` and `alpha` go into the weight, `beta` into the bias. Raises CompressionFailed for
    a Gemm with `transA`, or whose bias has to be scaled and is no tensor of the graph.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stored = {one.name: numpy_helper.to_array(one) for one in copy.graph.initializer}
    gemms = {node.name for node in dense_nodes(copy) if node.op_type == "Gemm"} - set(leave)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        if node.name in gemms:
            made, tensors = _rewritten(node, stored)
            nodes += made
            copy.graph.initializer.extend(tensors)
        else:
            nodes.append(node)
    read_before = value_uses(copy)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    read = value_uses(copy)
    for one in [one for one in copy.graph.initializer if read_before[one.name] and not read[one.name]]:
        copy.graph.initializer.remove(one)
    return copy


def _rewritten(
    node: onnx.NodeProto, stored: dict[str, Array]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes in a Gemm's place, and the tensors that they need anew."""
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if settings.get("transA", 0):
        raise CompressionFailed(f"the Gemm {node.name} transposes its input, which is not supported")
    weight = stored[node.input[1]]
    weight = (weight.T if settings.get("transB", 0) else weight) * np.float32(settings.get("alpha", 1.0))
    weight_name, product = f"{node.name}_weight", f"{node.name}_product"
    tensors = [numpy_helper.from_array(np.ascontiguousarray(weight), weight_name)]
    bias = node.input[2] if len(node.input) > 2 else ""
    output = node.output[0]
    matmul = helper.make_node(
        "MatMul", [node.input[0], weight_name], [product if bias else output], name=f"{node.name}_MatMul"
    )
    if not bias:
        return [matmul], tensors
    beta = settings.get("beta", 1.0)
    if beta != 1.0:
        if bias not in stored:
            raise CompressionFailed(f"the Gemm {node.name} scales a bias that is no tensor of the graph")
        tensors.append(numpy_helper.from_array(stored[bias] * np.float32(beta), f"{node.name}_bias"))
        bias = tensors[-1].name
    return [matmul, helper.make_node("Add", [product, bias], [output], name=f"{node.name}_Add")], tensors
