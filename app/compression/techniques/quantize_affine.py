"""Affine integers as a storage form: dense weights as 8-bit codes with a scale and a zero point, computed in float."""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field

from app.compression.affine import Affine, affine
from app.compression.graph import axis_of_outputs, dense_nodes, name_nodes
from app.compression.quantizer import dense_to_quantize
from app.compression.technique import Technique, TechniqueConfig
from app.compression.weights_aside import set_aside
from app.compression.workshop import Workshop
from app.errors import CompressionFailed


class QuantizeAffineConfig(TechniqueConfig):
    """What shares a range, and when codes are turned back."""

    per_channel: bool = Field(default=True, description="One range per output channel instead of per tensor.")
    symmetric: bool = Field(
        default=False,
        description="int8 around zero instead of uint8 with a zero point, which uses all codes.",
    )
    unpack: Literal["load", "run"] = Field(
        default="load",
        description="When codes become float32: once, as the graph is loaded; or at every run, which saves memory and "
        "costs time.",
    )


def apply(model: onnx.ModelProto, config: QuantizeAffineConfig, workshop: Workshop) -> onnx.ModelProto:  # noqa: ARG001
    """The graph with every dense weight but the last in 8 bits. Raises CompressionFailed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    name_nodes(copy)
    axes = _weights(copy)
    if not axes:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has no dense layer to quantize besides the last one"
        )
    added: list[onnx.NodeProto] = []
    for tensor in [one for one in copy.graph.initializer if one.name in axes]:
        name, axis = tensor.name, axes[tensor.name]
        if tensor.data_type != TensorProto.FLOAT:
            raise CompressionFailed(f"{TECHNIQUE.name}: {name} is not float32")
        made = affine(
            numpy_helper.to_array(tensor), axis if config.per_channel else None, symmetric=config.symmetric
        )
        nodes, constants = _at_load(name, made) if config.unpack == "load" else _at_run(name, made, axis)
        added += nodes
        tensor.CopyFrom(numpy_helper.from_array(made.codes, f"{name}_codes"))
        copy.graph.initializer.extend(constants)
    nodes = [*added, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _weights(named: onnx.ModelProto) -> dict[str, int]:
    """The weights to quantize, each with the axis of its outputs; those in files are left, and so are the last ones."""
    inside = onnx.ModelProto()
    inside.CopyFrom(named)
    set_aside(inside)
    layers = dense_to_quantize(inside)
    ranks = {one.name: len(one.dims) for one in inside.graph.initializer}
    left = {node.input[1] for node in dense_nodes(inside) if node.name not in layers}
    nodes = [node for node in dense_nodes(inside) if node.name in layers and node.input[1] not in left]
    return {node.input[1]: axis_of_outputs(node, ranks[node.input[1]]) for node in nodes}


def _at_load(name: str, made: Affine) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Of constants alone: onnxruntime computes them when it loads the graph."""
    nodes = [
        helper.make_node(
            "Cast", [f"{name}_codes"], [f"{name}_cast"], name=f"{name}_cast", to=TensorProto.FLOAT
        ),
        helper.make_node("Sub", [f"{name}_cast", f"{name}_zero"], [f"{name}_moved"], name=f"{name}_sub"),
        helper.make_node("Mul", [f"{name}_moved", f"{name}_scale"], [name], name=f"{name}_mul"),
    ]
    zero_point = numpy_helper.from_array(made.zero_point.astype(np.float32), f"{name}_zero")
    return nodes, [zero_point, numpy_helper.from_array(made.scale, f"{name}_scale")]


def _at_run(name: str, made: Affine, axis: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """onnxruntime keeps a DequantizeLinear of constants as it is."""
    shape = () if made.scale.size == 1 else (-1,)
    inputs = [f"{name}_codes", f"{name}_scale", f"{name}_zero"]
    node = helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}_dequantize", axis=axis)
    return [node], [
        numpy_helper.from_array(made.scale.reshape(shape), f"{name}_scale"),
        numpy_helper.from_array(made.zero_point.reshape(shape), f"{name}_zero"),
    ]


TECHNIQUE = Technique(
    name="quantize_affine",
    stage="graph",
    config=QuantizeAffineConfig,
    apply=apply,
    summary="Dense weights as 8-bit codes with a scale and a zero point; computed in float.",
    source="Jacob et al., 2018 (arXiv 1712.05877), section 2.1",
    needs_rows=False,
)
