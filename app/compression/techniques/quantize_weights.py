"""Weight-only quantization: blocks of 8- or 4-bit weights with a scale each; activations stay in float."""

from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from pydantic import Field

from app.compression.bias_correction import CORRECT_BIASES, with_corrected_biases
from app.compression.calibration import calibration_inputs
from app.compression.gemm import without_gemm
from app.compression.quantizer import all_but, dense_to_quantize, quantized
from app.compression.technique import Misfit, Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.model_card import ModelCard


class QuantizeWeightsConfig(TechniqueConfig):
    """How weights are stored."""

    bits: Literal[4, 8] = Field(default=8, description="Bits of a weight.")
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="Weights of one output that share a scale."
    )
    symmetric: bool = Field(default=True, description="Ranges around 0, without a zero point for each block.")
    correct_biases: bool = Field(default=False, description=CORRECT_BIASES)
    rows: int = Field(
        default=2048,
        ge=1,
        le=100_000,
        description="Training rows that biases are corrected by; unused without.",
    )


def apply(model: onnx.ModelProto, config: QuantizeWeightsConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with 8- or 4-bit weights in every dense layer but the last. Raises CompressionFailed."""
    inputs = calibration_inputs(workshop, config.rows, TECHNIQUE.name) if config.correct_biases else []

    def quantize(copy: onnx.ModelProto, target: Path) -> None:
        left = all_but(copy, dense_to_quantize(copy))
        quantizer = MatMulNBitsQuantizer(
            # onnxruntime passes over a Gemm without a word, and over the last layers because we name them.
            without_gemm(copy, leave=left),
            nodes_to_exclude=left,
            algo_config=DefaultWeightOnlyQuantConfig(
                block_size=config.block_size, is_symmetric=config.symmetric, bits=config.bits
            ),
        )
        quantizer.process()
        onnx.save(quantizer.model.model, target)

    made = quantized(model, TECHNIQUE.name, quantize)
    return with_corrected_biases(model, made, inputs) if config.correct_biases else made


def misfit(config: QuantizeWeightsConfig, card: ModelCard) -> Misfit | None:
    """Biases shall be corrected, and the model has no rows to do it by."""
    if config.correct_biases and card.data is None:
        return Misfit("correct_biases", "it takes rows, and the model's card has no [data]")
    return None


TECHNIQUE = Technique(
    name="quantize_weights",
    stage="graph",
    config=QuantizeWeightsConfig,
    apply=apply,
    summary="Dense weights in 8 or 4 bits by blocks, activations in float: no score depends on its batch.",
    source="onnxruntime MatMulNBits; Frantar et al., 2022 (arXiv 2210.17323), its round-to-nearest baseline",
    needs_rows=False,
    misfit=misfit,
)
