"""Narrower rankers: which columns of which features stay, and layers without the inputs and outputs that go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Kept:
    """What stays of the vectors that features are embedded in; a feature that is not named goes as a whole."""

    columns: Mapping[str, Tensor]
    """By feature, the columns that stay: int64, ascending, at least one."""

    @property
    def whole(self) -> "Kept":
        """The same features, where each has one column."""
        return Kept({name: torch.zeros(1, dtype=torch.int64) for name in self.columns})

    def positions(self, widths: Mapping[str, int]) -> Tensor:
        """Where what stays lies among features side by side, which have these widths; int64."""
        found, start = [torch.zeros(0, dtype=torch.int64)], 0
        for name, width in widths.items():
            if name in self.columns:
                found.append(start + self.columns[name])
            start += width
        return torch.cat(found)

    def places(self, names: Sequence[str]) -> list[int]:
        """Which of some features stay, by their place among them."""
        return [place for place, name in enumerate(names) if name in self.columns]


class Stays(NamedTuple):
    """Where what stays lies, in the layout before: int64."""

    request: Tensor
    item: Tensor
    joined: Tensor
    """Both sides in one, the request's first."""


def keep_inputs(layer: nn.Linear, kept: Tensor) -> None:
    """Leave only these inputs of a dense layer, in place."""
    layer.weight = nn.Parameter(layer.weight[:, kept].detach().clone())
    layer.in_features = len(kept)


def keep_outputs(layer: nn.Linear, kept: Tensor) -> None:
    """Leave only these outputs of a dense layer, in place."""
    layer.weight = nn.Parameter(layer.weight[kept].detach().clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias[kept].detach().clone())
    layer.out_features = len(kept)


def keep_columns(table: nn.Embedding, kept: Tensor) -> None:
    """Leave only these columns of a table, in place."""
    table.weight = nn.Parameter(table.weight[:, kept].detach().clone())
    table.embedding_dim = len(kept)


def pairs_that_stay(kept: Sequence[int], count: int) -> Tensor:
    """Which of all pairs of `count` fields, in their order, are pairs of fields that stay; int64."""
    stays = [
        place
        for place, (one, other) in enumerate(combinations(range(count), 2))
        if one in kept and other in kept
    ]
    return torch.tensor(stays, dtype=torch.int64)
