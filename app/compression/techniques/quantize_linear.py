"""The plain linear quantizer: weights and biases of dense layers as integer multiples of a step."""

from typing import Literal

import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field, PositiveFloat

from app.compression.graph import bias_of, dense_nodes, last_dense_nodes
from app.compression.linear import linear_codes, step_of
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed


class QuantizeLinearConfig(TechniqueConfig):
    """The steps of the grid."""

    bits: int = Field(
        default=8, ge=2, le=16, description="Bits of the codes, from which a step follows that is not given."
    )
    step: PositiveFloat | None = Field(default=None, description="One step for every tensor.")
    steps: tuple[PositiveFloat, ...] = Field(
        default=(),
        description="A step for each layer that is quantized, in the graph's order, instead of `step`.",
    )
    rounding: Literal["floor", "nearest"] = Field(
        default="floor",
        description="Code of a value between two steps: floor is off by half a step on average, nearest by none.",
    )
    keep_last: bool = Field(default=True, description="Leave the layers that give the score in float.")


def apply(model: onnx.ModelProto, config: QuantizeLinearConfig, workshop: Workshop) -> onnx.ModelProto:  # noqa: ARG001
    """The graph with dense weights and biases stored as integers. Raises CompressionFailed.

    A Cast and a Mul turn the codes back, which onnxruntime does once, when it loads the graph.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stored = {one.name: one for one in copy.graph.initializer}
    added: list[onnx.NodeProto] = []
    done: set[str] = set()
    for names, step in _layers(copy, config):
        for name in names:
            if name in done:
                continue
            done.add(name)
            values = numpy_helper.to_array(stored[name])
            of_tensor = step or step_of(values, config.bits)
            codes = linear_codes(values, of_tensor, nearest=config.rounding == "nearest")
            added += _replace(copy, stored[name], codes, of_tensor)
    nodes = [*added, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _layers(model: onnx.ModelProto, config: QuantizeLinearConfig) -> list[tuple[list[str], float | None]]:
    """For each layer to quantize: the names of its weight and bias, and the step it was given."""
    left = last_dense_nodes(model) if config.keep_last else []
    kept = {name for node in left for name in (node.input[1], bias_of(model, node)) if name}
    layers = []
    for node in dense_nodes(model):
        if node.input[1] not in kept:
            bias = bias_of(model, node)
            layers.append([node.input[1], *([bias] if bias and bias not in kept else [])])
    if not layers:
        raise CompressionFailed(
            "quantize_linear: the graph has no dense layer to quantize besides the last one"
        )
    if config.steps and len(config.steps) != len(layers):
        raise CompressionFailed(
            f"quantize_linear: steps has {len(config.steps)} numbers, and the layers to quantize are "
            f"{len(layers)}: {', '.join(names[0] for names in layers)}"
        )
    return list(zip(layers, config.steps or [config.step] * len(layers), strict=True))


def _replace(
    model: onnx.ModelProto, tensor: onnx.TensorProto, codes: Array, step: float
) -> list[onnx.NodeProto]:
    """Put codes and step in a tensor's place; the nodes given make a value of the tensor's name from them."""
    name, kind = tensor.name, tensor.data_type
    if kind != TensorProto.FLOAT:
        raise CompressionFailed(f"quantize_linear: {name} is not float32")
    scale = helper.make_tensor(f"{name}_step", kind, [], [step])
    tensor.CopyFrom(numpy_helper.from_array(codes, f"{name}_codes"))
    model.graph.initializer.append(scale)
    return [
        helper.make_node("Cast", [f"{name}_codes"], [f"{name}_cast"], name=f"{name}_cast", to=kind),
        helper.make_node("Mul", [f"{name}_cast", f"{name}_step"], [name], name=f"{name}_mul"),
    ]


TECHNIQUE = Technique(
    name="quantize_linear",
    stage="graph",
    config=QuantizeLinearConfig,
    apply=apply,
    summary="Dense weights and biases as integer multiples of a step; computed in float.",
    source="Uniform quantization: Gray and Neuhoff, Quantization, IEEE Trans. Inf. Theory 1998",
    needs_rows=False,
)
