"""Quantization-aware fine-tuning: the module is tuned with weights that are rounded as later steps will round them."""

import copy
from contextlib import ExitStack
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from app.compression.fake_quantization import (
    Rounding,
    per_block,
    per_output,
    per_row,
    rounded_inputs,
    rounded_tables,
    rounded_weights,
)
from app.compression.linear_layers import inner_linears
from app.compression.teaching import TeachingConfig, teach
from app.compression.technique import Technique
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.machine import int8_saturates


class TuneQuantizedConfig(TeachingConfig):
    """What later steps round, and how."""

    dense_bits: Literal[8, 4, 0] = Field(
        default=8,
        description="Bits of dense weights: 8 with a scale for each output, as quantize_static has them; 4 with a "
        "scale for each block, as quantize_weights has them; 0 leaves them alone.",
    )
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="Weights of one output that share a scale in 4 bits."
    )
    activations: bool = Field(
        default=False, description="Round what these layers read to 8 bits too, as quantize_static does."
    )
    table_bits: Literal[8, 4, 2, 0] = Field(
        default=0,
        description="Bits of embedding tables with a searched range for each row, as quantize_tables has them; 0 "
        "leaves them alone.",
    )
    min_rows: int = Field(default=256, ge=1, description="Tables with fewer rows are left alone.")

    @model_validator(mode="after")
    def _something_is_rounded(self) -> Self:
        if not self.dense_bits and not self.table_bits:
            raise ValueError("dense_bits or table_bits must be given: nothing would be rounded")
        if not self.dense_bits and self.activations:
            raise ValueError("activations goes with dense_bits: it is about what these layers read")
        return self


def apply(module: nn.Module, config: TuneQuantizedConfig, workshop: Workshop) -> nn.Module:
    """The module with rounded weights, float32 still, tuned by the module that the recipe began with.

    A later step of the same settings rounds to the values that are there already. Layers that give the score are left
    alone. Raises CompressionFailed when there is nothing to round, or tuning diverges.
    """
    rows = workshop.rows(TECHNIQUE.name)
    tuned = copy.deepcopy(module)
    inputs = {name: torch.from_numpy(values) for name, values in rows.inputs(np.arange(2)).items()}
    layers = inner_linears(tuned, inputs, torch.arange(2)) if config.dense_bits else []
    tables = _tables(tuned, config) if config.table_bits else []
    if not layers and not tables:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the module has nothing to round: no Linear layer before those that give the score, and "
            f"no table of at least min_rows = {config.min_rows} rows that table_bits is for"
        )
    with ExitStack() as rounded:
        if layers:
            rounded.enter_context(rounded_weights(layers, _of_weights(config, workshop)))
        if layers and config.activations:
            rounded.enter_context(rounded_inputs(layers))
        if tables:
            rounded.enter_context(rounded_tables(tables, per_row(config.table_bits)))
        teach(tuned, config, workshop)
    return tuned


def _of_weights(config: TuneQuantizedConfig, workshop: Workshop) -> Rounding:
    if config.dense_bits == 4:
        return per_block(4, config.block_size)
    return per_output(64 if int8_saturates(workshop.machine) else 127)


def _tables(module: nn.Module, config: TuneQuantizedConfig) -> list[nn.Embedding]:
    tables = (one for one in module.modules() if isinstance(one, nn.Embedding))
    return [one for one in tables if one.num_embeddings >= config.min_rows]


TECHNIQUE = Technique(
    name="tune_quantized",
    stage="module",
    config=TuneQuantizedConfig,
    apply=apply,
    summary="Weights are tuned while they are rounded as later steps will round them, which then lose less.",
    source="Jacob et al., Quantization and Training of Neural Networks, CVPR 2018 (arXiv 1712.05877)",
    needs_rows=True,
)
