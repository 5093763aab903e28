"""Mixed precision by measurement: dense layers that cost too much in int8, or gain nothing by it, stay in float.

Each layer is quantized alone, and how far it moves the logits of validation rows orders the layers (a sensitivity
analysis as in Wu et al., Integer Quantization for Deep Learning Inference, 2020, arXiv 2004.09602, section 5.2). All of
them are quantized together, then all but the most sensitive one, and so on, until what is lost keeps to the budget.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import onnx
from pydantic import Field

from app.compression.graph import name_nodes
from app.compression.layer_timing import LayerTiming
from app.compression.loss_of_quality import Measure, QualityLoss
from app.compression.quantizer import dense_to_quantize
from app.compression.technique import Misfit, TechniqueConfig
from app.compression.weights_aside import set_aside
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.model_card import ModelCard

Quantize = Callable[[Collection[str]], onnx.ModelProto]
"""From the names of some dense nodes to the graph in which these are quantized, and no others."""


class MixedPrecisionConfig(TechniqueConfig):
    """Which layers stay in float."""

    keep_float: Literal["last", "measured"] = Field(
        default="last",
        description="last: the layers that give the score; measured: also those that cost too much quality or gain no "
        "time, by validation rows.",
    )
    measure: Measure = Field(
        default="auc",
        description="What the budget counts, on validation rows: AUC that is lost, or how far logits move on average.",
    )
    budget: float = Field(default=0.0005, ge=0, le=10, description="Most that all layers together may cost.")
    candidates: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Candidates of the request that layers are timed on; 0: not timed.",
    )


@dataclass(frozen=True)
class _Layer:
    """A dense layer, and what was measured of it alone."""

    name: str
    """Name of its node."""
    weight: str
    """Name of its weight, which tells people more."""
    moved: float
    """How far it alone, quantized, moves a logit on average."""


def without_rows(config: MixedPrecisionConfig, card: ModelCard) -> Misfit | None:
    """Measuring is asked for, and the model has no rows to measure on."""
    if config.keep_float == "measured" and card.data is None:
        return Misfit("keep_float", "to measure layers takes rows, and the model's card has no [data]")
    return None


def with_mixed_precision(
    model: onnx.ModelProto, quantize: Quantize, config: MixedPrecisionConfig, workshop: Workshop
) -> onnx.ModelProto:
    """The graph whose layers are quantized as far as the configuration allows.

    Each layer that stays in float by measurement is noted with the reason. Raises CompressionFailed when there are no
    rows to measure on, or no layer is left to quantize.
    """
    named = onnx.ModelProto()
    named.CopyFrom(model)
    name_nodes(named)
    inside = onnx.ModelProto()
    inside.CopyFrom(named)
    set_aside(inside)
    names = dense_to_quantize(inside)
    if config.keep_float == "last" or not names:
        return quantize(names)
    workshop.rows("keep_float")
    assert workshop.prepared is not None
    loss = QualityLoss(named, workshop.prepared.validation, workshop.seed)
    timing = LayerTiming(named, workshop.encoder, config.candidates) if config.candidates else None
    layers = []
    for position, node in enumerate(one for one in named.graph.node if one.name in names):
        workshop.progress(position / (len(names) + 1), f"measuring {node.input[1]}")
        alone = quantize([node.name])
        seconds = timing.seconds(node, alone) if timing is not None else None
        if seconds is not None and not seconds.gains:
            workshop.note(f"{node.input[1]} stays in float: it gains no time ({seconds})")
        else:
            layers.append(_Layer(node.name, node.input[1], loss.of_logits(alone)))
    workshop.progress(len(names) / (len(names) + 1), "measuring all layers")
    return _within_budget(layers, quantize, loss, config, workshop)


def _within_budget(
    layers: list[_Layer],
    quantize: Quantize,
    loss: QualityLoss,
    config: MixedPrecisionConfig,
    workshop: Workshop,
) -> onnx.ModelProto:
    """All layers quantized but the most sensitive ones, as few as the budget allows."""
    left = sorted(layers, key=lambda one: one.moved)
    while left:
        made = quantize([one.name for one in left])
        lost = loss.of(made, config.measure)
        if lost <= config.budget:
            return made
        worst = left.pop()
        workshop.note(
            f"{worst.weight} stays in float: alone it moves a logit by {worst.moved:.2g} on average, and with it "
            f"{_LOST[config.measure]} {lost:.2g}, of which the budget is {config.budget:g}"
        )
    raise CompressionFailed(
        "keep_float: no layer is left to quantize: each of them costs more than the budget or gains no time"
    )


_LOST = {"auc": "all of them lose an AUC of", "logit": "all of them move a logit by"}
