"""Unstructured pruning: single weights become zero, and the rest is tuned while they stay so."""

import copy
from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from app.compression.gradual import GradualConfig, in_rounds
from app.compression.masks import Masked, keep_largest, keep_of_groups, masked
from app.compression.measured_losses import losses
from app.compression.technique import Technique
from app.compression.workshop import Workshop
from app.errors import CompressionFailed

_GROUPS = {"2:4": (2, 4), "4:8": (4, 8)}
# Where one ranking decides over all layers, none of them loses more than this.
_LEAST = 0.01


class PruneWeightsConfig(GradualConfig):
    """Which weights become zero, and how the rest is tuned."""

    sparsity: float = Field(default=0.5, gt=0, lt=1, description="Share of the weights that become zero.")
    pattern: Literal["any", "2:4", "4:8"] = Field(
        default="any",
        description="any: zeros anywhere; 2:4 and 4:8: half of each 4 or 8 inputs of a neuron that follow each other.",
    )
    importance: Literal["magnitude", "gradient"] = Field(
        default="magnitude", description="magnitude: |weight|; gradient: |weight * gradient of the loss|."
    )
    scope: Literal["layer", "global"] = Field(
        default="layer",
        description="layer: the same share of each layer; global: one ranking over all, of each layer at least 1%.",
    )
    weights: Literal["dense", "tables", "all"] = Field(
        default="dense", description="Weights of dense layers, of embedding tables, or of both."
    )

    @model_validator(mode="after")
    def _a_pattern_has_its_share(self) -> Self:
        if self.pattern == "any":
            return self
        if self.sparsity != 0.5 or self.rounds != 1 or self.weights != "dense":
            raise ValueError(
                f"pattern {self.pattern} leaves half of dense weights at once: "
                "it goes with sparsity = 0.5, rounds = 1 and weights = 'dense'"
            )
        return self


def apply(module: nn.Module, config: PruneWeightsConfig, workshop: Workshop) -> nn.Module:
    """The module with weights that are zero, tuned by distillation from the module that the recipe began with.

    Raises CompressionFailed when the module has no such weights, or when tuning diverges.
    """
    pruned = copy.deepcopy(module)
    layers = _layers(pruned, config.weights)
    if not layers:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the module has no weights to prune; it looks for nn.Linear layers of several outputs "
            "and nn.Embedding tables of several columns"
        )
    with masked(layers) as weights:

        def prune(share: float, room: Workshop) -> None:
            room.progress(0.0, "measuring weights")
            if config.importance == "gradient":
                scores = _gradient(pruned, weights, room)
            else:
                scores = [one.weight.abs() for one in weights]
            for one, mask in zip(weights, _masks(scores, config, share), strict=True):
                one.mask.mask.copy_(mask)

        in_rounds(pruned, config, workshop, prune)
    return pruned


def _masks(scores: Sequence[Tensor], config: PruneWeightsConfig, share: float) -> list[Tensor]:
    if config.pattern != "any":
        return [keep_of_groups(one, *_GROUPS[config.pattern]) for one in scores]
    keep = 1.0 - config.sparsity * share
    if config.scope == "global":
        return keep_largest(scores, keep, _LEAST)
    return [mask for one in scores for mask in keep_largest([one], keep, _LEAST)]


def _gradient(module: nn.Module, weights: Sequence[Masked], workshop: Workshop) -> list[Tensor]:
    """First-order estimate of what the loss changes by without a weight (Molchanov et al., 2019, equation 8)."""
    totals = [torch.zeros_like(one.weight) for one in weights]
    for loss in losses(module, workshop.rows(TECHNIQUE.name), workshop.seed):
        gradients = torch.autograd.grad(loss, [one.own for one in weights], allow_unused=True)
        for total, one, gradient in zip(totals, weights, gradients, strict=True):
            # What the loss does not depend on has no gradient, and no importance.
            if gradient is not None:
                total.add_((one.weight * gradient).abs())
    return totals


def _layers(module: nn.Module, of: str) -> list[nn.Module]:
    """The layers whose weights may go: not those that give the score, and none whose weight another layer has too."""
    found = [one for one in module.modules() if _KINDS[of](one)]
    owners = [id(one.weight) for one in module.modules() if isinstance(one, nn.Linear | nn.Embedding)]
    return [one for one in found if owners.count(id(one.weight)) == 1]


def _is_dense(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and layer.out_features > 1


def _is_table(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Embedding) and layer.embedding_dim > 1


_KINDS: dict[str, Callable[[nn.Module], bool]] = {
    "dense": _is_dense,
    "tables": _is_table,
    "all": lambda layer: _is_dense(layer) or _is_table(layer),
}


TECHNIQUE = Technique(
    name="prune_weights",
    stage="module",
    config=PruneWeightsConfig,
    apply=apply,
    summary="Single weights become zero, and the rest is tuned: nothing is faster, and `store_sparse` saves the bytes.",
    source="Zhu and Gupta, To Prune, or Not to Prune, 2017 (arXiv 1710.01878)",
    needs_rows=True,
)
