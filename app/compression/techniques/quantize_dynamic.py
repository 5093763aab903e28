"""Dynamic int8: weights are stored as int8, activations are quantized as they come, with one scale for a whole run."""

from collections.abc import Collection
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from pydantic import Field

from app.compression.graph import DENSE_OPERATORS
from app.compression.mixed_precision import MixedPrecisionConfig, with_mixed_precision, without_rows
from app.compression.quantizer import all_but, quantized
from app.compression.technique import Technique
from app.compression.workshop import Workshop
from app.machine import int8_saturates


class QuantizeDynamicConfig(MixedPrecisionConfig):
    """How weights are quantized."""

    per_channel: bool = Field(default=True, description="One scale per output channel instead of per tensor.")


def apply(model: onnx.ModelProto, config: QuantizeDynamicConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with int8 weights in every dense layer but the last, and but those that `keep_float` leaves.

    Raises CompressionFailed.
    """

    def with_these(layers: Collection[str]) -> onnx.ModelProto:
        def quantize(copy: onnx.ModelProto, target: Path) -> None:
            quantize_dynamic(
                copy,
                target,
                op_types_to_quantize=list(DENSE_OPERATORS),
                per_channel=config.per_channel,
                reduce_range=int8_saturates(workshop.machine),
                weight_type=QuantType.QInt8,
                nodes_to_exclude=all_but(copy, layers),
            )

        return quantized(model, TECHNIQUE.name, quantize)

    return with_mixed_precision(model, with_these, config, workshop)


TECHNIQUE = Technique(
    name="quantize_dynamic",
    stage="graph",
    config=QuantizeDynamicConfig,
    apply=apply,
    summary="Dense weights as int8; activations are quantized at run time, so no data are needed.",
    source="onnxruntime quantization, dynamic; Jacob et al., 2018 (arXiv 1712.05877)",
    needs_rows=False,
    misfit=without_rows,
)
