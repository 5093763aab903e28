"""Dense layers as the product of two thin ones, by what the layers give on training rows."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
from pydantic import Field

from app.compression.activations import Moments, moments
from app.compression.dense import DenseLayer, Thin, hidden_dense_layers, replace_dense
from app.compression.graph import remove_unused
from app.compression.low_rank import Spectrum, most_rank
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.errors import CompressionFailed


class FactorDenseConfig(TechniqueConfig):
    """How thin the layers become, and by what measure."""

    energy: float = Field(
        default=0.99,
        gt=0,
        lt=1,
        description="Share of what a layer gives that stays, in squares about its mean.",
    )
    ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of a layer's products that stays, instead of a share of its energy.",
    )
    weighting: Literal["inputs", "none"] = Field(
        default="inputs",
        description="inputs: directions count by what training rows give; none: by the weights alone.",
    )
    rows: int = Field(default=4096, ge=1, le=100_000, description="Training rows that the layers are run on.")
    multiple: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Ranks are multiples of it, which kernels are faster with; smaller layers stay.",
    )


def apply(model: onnx.ModelProto, config: FactorDenseConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with every dense layer but the last as two thin ones, where that saves products.

    Raises CompressionFailed when no layer would have fewer.
    """
    rows = workshop.rows(TECHNIQUE.name)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    layers = hidden_dense_layers(copy)
    known: Mapping[str, Moments] = {}
    if config.weighting == "inputs":
        workshop.progress(0.0, "running the layers")
        drawn = np.random.default_rng(workshop.seed).permutation(len(rows))[: config.rows]
        values = dict.fromkeys(node.input[0] for layer in layers for node in layer.nodes)
        known = moments(copy, list(values), rows.take(np.sort(drawn)))
    gains = 0
    for position, layer in enumerate(layers):
        workshop.progress(position / len(layers), f"factoring {layer.name}")
        if (thin := _factored(layer, known, config)) is not None:
            replace_dense(copy, layer, thin)
            gains += 1
    if not gains:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: no dense layer besides the last ones has fewer products as two thin ones; lower "
            "`energy`, set `ratio`, or leave the step out"
        )
    remove_unused(copy)
    return copy


def _factored(layer: DenseLayer, known: Mapping[str, Moments], config: FactorDenseConfig) -> Thin | None:
    """The two thin weights of a layer; None where they would save nothing."""
    weight = layer.weight
    mean, moment = np.zeros(len(weight)), weight.T @ weight
    if known:
        given = [known[node.input[0]] for node in layer.nodes]
        mean = np.mean([one.mean for one in given], axis=0)
        covariance = np.mean([one.second for one in given], axis=0) - np.outer(mean, mean)
        # What the mean loses goes into the bias, so only what differs from row to row takes directions.
        moment = weight.T @ covariance @ weight
    spectrum = Spectrum.of(moment)
    rank = _rank(spectrum, weight.shape[0], weight.shape[1], config)
    if not rank:
        return None
    first, second = spectrum.factors(weight, rank)
    return Thin(first, second, mean @ (weight - first @ second))


def _rank(spectrum: Spectrum, inputs: int, outputs: int, config: FactorDenseConfig) -> int:
    """The layer's new width; 0 where none saves products."""
    if config.ratio is not None:
        most = most_rank(inputs, outputs, config.ratio)
        return most - most % config.multiple
    rank = -(-spectrum.rank(config.energy) // config.multiple) * config.multiple
    return rank if rank <= most_rank(inputs, outputs) else 0


TECHNIQUE = Technique(
    name="factor_dense",
    stage="graph",
    config=FactorDenseConfig,
    apply=apply,
    summary="Dense layers as two thin ones, where that saves products, by what they give on training rows.",
    source="Zhang et al., Accelerating Very Deep Convolutional Networks, TPAMI 2016 (arXiv 1505.06798), linear case",
    needs_rows=True,
)
