"""Structured pruning: hidden neurons are removed physically, the least important first, and the rest is tuned again."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from app.compression.chains import Hidden, hidden_layers
from app.compression.gradual import GradualConfig, in_rounds
from app.compression.masks import keep_largest
from app.compression.measured_losses import losses, recorded, tensors
from app.compression.technique import Technique
from app.compression.workshop import Workshop
from app.errors import CompressionFailed

# Widths that are multiples of 16 fill the vector registers of onnxruntime's kernels.
_MULTIPLE = 16


class PruneNeuronsConfig(GradualConfig):
    """How much is kept, by what measure, and how the rest is tuned."""

    keep: float = Field(
        default=0.5, gt=0, lt=1, description="Share of each hidden layer's neurons that stays."
    )
    importance: Literal["taylor", "activation", "magnitude"] = Field(
        default="taylor",
        description="taylor: |activation * gradient|; activation: mean |activation| * norm of outgoing weights; "
        "magnitude: norms of incoming and outgoing weights.",
    )
    scope: Literal["layer", "global"] = Field(
        default="layer",
        description="layer: the same share of each layer; global: one ranking over all of them, each by its own norm.",
    )
    floor: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Least share of a layer's neurons that stays where the ranking is global.",
    )


def apply(module: nn.Module, config: PruneNeuronsConfig, workshop: Workshop) -> nn.Module:
    """The module with narrower hidden layers, tuned by distillation from the module that the recipe began with.

    Raises CompressionFailed when the module has no hidden layers that can be narrowed, or does not run with narrower
    ones, or when tuning diverges.
    """
    pruned = copy.deepcopy(module)
    layers = _that_run(pruned, workshop)
    if not layers:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the module has no hidden layers to narrow; it looks for MLPs of this project and for "
            "nn.Sequential chains of Linear layers"
        )
    full = [layer.width for layer in layers]

    def prune(share: float, room: Workshop) -> None:
        room.progress(0.0, "measuring neurons")
        found = _IMPORTANCE[config.importance](pruned, layers, room)
        for layer, importance, width in zip(layers, found, _widths(found, full, config, share), strict=True):
            # What contributes least goes: the largest importances stay.
            layer.keep(torch.topk(importance, width).indices.sort().values)
        _check_that_it_runs(pruned, workshop)

    in_rounds(pruned, config, workshop, prune)
    return pruned


def _widths(
    found: Sequence[Tensor], full: Sequence[int], config: PruneNeuronsConfig, share: float
) -> list[int]:
    """How wide each layer is after a round: a multiple of 16, or as wide as it is where that is less."""
    keep = 1.0 - (1.0 - config.keep) * share
    wanted = [keep * width for width in full]
    if config.scope == "global":
        # Layers differ in the scale of their importances (Molchanov et al., 2017, arXiv 1611.06440, section 2.2).
        scores = [one / one.norm().clamp(min=1e-30) for one in found]
        masks = keep_largest(scores, min(1.0, sum(wanted) / sum(map(len, found))), config.floor)
        wanted = [float(mask.sum()) for mask in masks]
    return [
        min(len(one), max(_MULTIPLE, round(width / _MULTIPLE) * _MULTIPLE))
        for one, width in zip(found, wanted, strict=True)
    ]


def _taylor(module: nn.Module, layers: list[Hidden], workshop: Workshop) -> list[Tensor]:
    """First-order estimate of what the loss loses without a neuron (Molchanov et al., 2019, equation 8)."""
    totals = [torch.zeros(layer.width) for layer in layers]
    for activations, loss in _probe(module, layers, workshop):
        # What the loss does not depend on has no gradient, and no importance.
        gradients = torch.autograd.grad(loss, activations, allow_unused=True)
        for total, values, gradient in zip(totals, activations, gradients, strict=True):
            if gradient is not None:
                total.add_(_summed((values * gradient).abs()))
    return totals


def _activation(module: nn.Module, layers: list[Hidden], workshop: Workshop) -> list[Tensor]:
    totals = [torch.zeros(layer.width) for layer in layers]
    for activations, _ in _probe(module, layers, workshop):
        for total, values in zip(totals, activations, strict=True):
            total.add_(_summed(values.abs()))
    return [total * _outgoing(layer) for total, layer in zip(totals, layers, strict=True)]


def _magnitude(module: nn.Module, layers: list[Hidden], workshop: Workshop) -> list[Tensor]:  # noqa: ARG001
    return [layer.incoming.detach().norm(dim=1) * _outgoing(layer) for layer in layers]


def _summed(values: Tensor) -> Tensor:
    """[rows, ..., width] -> [width]: a layer may also run over the items of a history."""
    return values.reshape(-1, values.shape[-1]).sum(dim=0).detach()


def _outgoing(layer: Hidden) -> Tensor:
    norms: Tensor = layer.reader.weight.detach().norm(dim=0)
    return norms


_IMPORTANCE: dict[str, Callable[[nn.Module, list[Hidden], Workshop], list[Tensor]]] = {
    "taylor": _taylor,
    "activation": _activation,
    "magnitude": _magnitude,
}


def _that_run(module: nn.Module, workshop: Workshop) -> list[Hidden]:
    """The hidden layers that are run for a score: a module may have others, such as a head for training alone."""
    layers = hidden_layers(module)
    with recorded([layer.reader for layer in layers], "given") as activations:
        _run(module, workshop)
    return [layer for layer in layers if id(layer.reader) in activations]


def _run(module: nn.Module, workshop: Workshop) -> None:
    few = np.arange(2)
    module.eval()
    with torch.inference_mode():
        module(tensors(workshop.rows(TECHNIQUE.name), few), torch.arange(len(few)))


def _check_that_it_runs(module: nn.Module, workshop: Workshop) -> None:
    try:
        _run(module, workshop)
    except RuntimeError as error:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the module does not run with narrower layers: something besides an nn.Sequential uses "
            f"its hidden layers ({str(error).splitlines()[0]})"
        ) from error


def _probe(
    module: nn.Module, layers: list[Hidden], workshop: Workshop
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Of some training rows at a time: each layer's activations [rows, ..., width], and the loss on the labels."""
    readers = [layer.reader for layer in layers]
    with recorded(readers, "given") as activations:
        for loss in losses(module, workshop.rows(TECHNIQUE.name), workshop.seed):
            yield [activations[id(reader)] for reader in readers], loss


TECHNIQUE = Technique(
    name="prune_neurons",
    stage="module",
    config=PruneNeuronsConfig,
    apply=apply,
    summary="Whole neurons are removed from hidden layers by importance, and the rest is tuned again.",
    source="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (arXiv 1906.10771)",
    needs_rows=True,
)
