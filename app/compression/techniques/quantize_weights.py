"""Weight-only quantization: blocks of 8- or 4-bit weights with a scale each; activations stay in float."""

from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from pydantic import Field

from app.compression.gemm import without_gemm
from app.compression.quantizer import quantized, to_leave
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop


class QuantizeWeightsConfig(TechniqueConfig):
    """How weights are stored."""

    bits: Literal[4, 8] = Field(default=8, description="Bits of a weight.")
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="Weights of one output that share a scale."
    )
    symmetric: bool = Field(default=True, description="Ranges around 0, without a zero point for each block.")


def apply(model: onnx.ModelProto, config: QuantizeWeightsConfig, workshop: Workshop) -> onnx.ModelProto:  # noqa: ARG001
    """The graph with 8- or 4-bit weights in every dense layer but the last. Raises CompressionFailed."""

    def quantize(copy: onnx.ModelProto, target: Path) -> None:
        quantizer = MatMulNBitsQuantizer(
            # onnxruntime passes over a Gemm without a word, and over the last layers because we name them.
            without_gemm(copy, leave=to_leave(copy)),
            nodes_to_exclude=to_leave(copy),
            algo_config=DefaultWeightOnlyQuantConfig(
                block_size=config.block_size, is_symmetric=config.symmetric, bits=config.bits
            ),
        )
        quantizer.process()
        onnx.save(quantizer.model.model, target)

    return quantized(model, TECHNIQUE.name, quantize)


TECHNIQUE = Technique(
    name="quantize_weights",
    stage="graph",
    config=QuantizeWeightsConfig,
    apply=apply,
    summary="Dense weights in 8 or 4 bits by blocks, activations in float: no score depends on its batch.",
    source="onnxruntime MatMulNBits; Frantar et al., 2022 (arXiv 2210.17323), its round-to-nearest baseline",
    needs_rows=False,
)
