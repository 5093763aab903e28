"""Weights that are held at zero while the others are tuned, and which of them those are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_WEIGHT = "weight"


class Mask(nn.Module):
    """The weight that a layer computes with: its own, times 0 or 1."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.mask: Tensor
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        """[...] -> [...]."""
        return torch.where(self.mask, weight, 0.0)


@dataclass(frozen=True)
class Masked:
    """One layer whose weight is masked."""

    layer: nn.Module
    mask: Mask

    @property
    def own(self) -> nn.Parameter:
        """The weight below its mask, which is what training changes."""
        found: nn.Parameter = self.layer.parametrizations[_WEIGHT].original  # type: ignore[index, union-attr]
        return found

    @property
    def weight(self) -> Tensor:
        """What the layer computes with, without a gradient."""
        return torch.where(self.mask.mask, self.own.detach(), 0.0)


@contextmanager
def masked(layers: Sequence[nn.Module]) -> Iterator[list[Masked]]:
    """Masks on the weights of layers, of ones at first; afterwards the weights hold the zeros themselves."""
    made = []
    for layer in layers:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        made.append(Masked(layer, Mask(weight)))
        parametrize.register_parametrization(layer, _WEIGHT, made[-1].mask)
    try:
        yield made
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, _WEIGHT, leave_parametrized=True)


def keep_largest(scores: Sequence[Tensor], keep: float, least: float) -> list[Tensor]:
    """Which weights stay if one ranking over all layers decides: a bool mask like each of the scores.

    `keep` is the share of all weights that stays, and `least` that of each layer: a layer without any weight would let
    nothing through.
    """
    raised = []
    for one in scores:
        flat = one.flatten().clone()
        flat[torch.topk(flat, max(1, round(least * len(flat)))).indices] = torch.inf
        raised.append(flat)
    every = torch.cat(raised)
    stays = torch.zeros(len(every), dtype=torch.bool)
    stays[torch.topk(every, max(1, round(keep * len(every)))).indices] = True
    parts = torch.split(stays, [len(one) for one in raised])
    return [part.reshape(one.shape) for part, one in zip(parts, scores, strict=True)]


def keep_of_groups(scores: Tensor, keep: int, group: int) -> Tensor:
    """The `keep` largest of each `group` inputs that follow each other: a bool mask like [outputs, inputs].

    Inputs that are left over at the end of a row all stay.
    """
    outputs, inputs = scores.shape
    whole = inputs - inputs % group
    groups = scores[:, :whole].reshape(outputs, -1, group)
    stays = torch.zeros_like(groups, dtype=torch.bool)
    stays.scatter_(2, torch.topk(groups, keep, dim=2).indices, value=True)
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[:, :whole] = stays.reshape(outputs, whole)
    return mask
