"""Bias correction: how far quantization shifts what a layer gives, on average, goes into the layer's bias.

The error of rounded weights is, in part, the same for all rows (Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, ICCV 2019, arXiv 1906.04721, section 4.2). Layers are corrected in the order of the
graph, so that each one is looked at with those before it corrected.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.compression.graph import bias_of, dense_nodes, value_uses
from app.compression.probe import Probe
from app.encoding import Array

CORRECT_BIASES = (
    "Let what rounding shifts of a layer's outputs, on average over those rows, go into its bias."
)
_UNCORRECTED = "_uncorrected"


def with_corrected_biases(
    model: onnx.ModelProto, quantized: onnx.ModelProto, inputs: Sequence[dict[str, Array]]
) -> onnx.ModelProto:
    """The quantized graph in which every quantized layer gives the same mean for each output as it does in `model`.

    Means are over the rows of `inputs`. Biases in int32 are corrected to the nearest code; a layer without a bias is
    given one. Raises CompressionFailed.
    """
    made = onnx.ModelProto()
    made.CopyFrom(quantized)
    still_float = {node.output[0] for node in dense_nodes(made)}
    outputs = [node.output[0] for node in dense_nodes(model) if node.output[0] not in still_float]
    if not outputs:
        return made
    wanted = mean_outputs(model, outputs, inputs)
    for output in outputs:
        found = mean_outputs(made, [output], inputs)[output]
        _add(made, output, (wanted[output] - found).astype(np.float32))
    return made


def mean_outputs(
    model: onnx.ModelProto, outputs: Sequence[str], inputs: Sequence[dict[str, Array]]
) -> dict[str, Array]:
    """The mean of some values of a graph for each place of their last axis, float64."""
    probe = Probe(model, outputs)
    totals = dict.fromkeys(outputs, np.zeros(1))
    counts = dict.fromkeys(outputs, 0)
    for some in inputs:
        for name, values in probe.run(some).items():
            flat = values.reshape(-1, values.shape[-1])
            totals[name] = totals[name] + flat.sum(axis=0, dtype=np.float64)
            counts[name] += len(flat)
    return {name: totals[name] / counts[name] for name in outputs}


def _add(model: onnx.ModelProto, output: str, correction: Array) -> None:
    """Add a vector to what a layer gives, in place: to the bias that it has, where nothing else reads that."""
    node = next(one for one in model.graph.node if output in one.output)
    stored = {one.name: one for one in model.graph.initializer}
    uses = value_uses(model)
    if (codes := _int32_bias(model, node)) is not None:
        (name, scale_name) = codes
        if uses[name] == 1:
            scale = numpy_helper.to_array(stored[scale_name])
            values = numpy_helper.to_array(stored[name])
            changed = values + np.rint(correction / scale).astype(np.int32)
            stored[name].CopyFrom(numpy_helper.from_array(changed.astype(np.int32), name))
            return
    elif (bias := _float_bias(model, node, stored)) is not None and uses[bias] == 1:
        values = numpy_helper.to_array(stored[bias])
        stored[bias].CopyFrom(numpy_helper.from_array((values + correction).astype(np.float32), bias))
        return
    _insert(model, node, output, correction)


def _int32_bias(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Names of the codes and scales of a Gemm's bias."""
    if node.op_type != "Gemm" or len(node.input) < 3:
        return None
    made = next((one for one in model.graph.node if node.input[2] in one.output), None)
    if made is None or made.op_type != "DequantizeLinear":
        return None
    return made.input[0], made.input[1]


def _float_bias(
    model: onnx.ModelProto, node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]
) -> str | None:
    """The tensor that is added to a product, by the layer's own node or by the one that follows it."""
    if node.op_type == "Add":
        return next((name for name in node.input if name in stored), None)
    name = bias_of(model, node)
    return name if name is not None and stored[name].data_type == TensorProto.FLOAT else None


def _insert(model: onnx.ModelProto, node: onnx.NodeProto, output: str, correction: Array) -> None:
    name = f"{output}_correction"
    model.graph.initializer.append(numpy_helper.from_array(correction, name))
    node.output[:] = [one + _UNCORRECTED if one == output else one for one in node.output]
    add = helper.make_node("Add", [output + _UNCORRECTED, name], [output], name=f"{output}_corrected")
    model.graph.node.insert(list(model.graph.node).index(node) + 1, add)
