"""What a student is asked to make small: its distance to the labels and to the teacher, row by row and list by list."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.compression.hints import Hints
from app.encoding import Array

ListLoss = Literal["softmax", "top_k"]
TOP_K = 3
# How fast the weight of a place falls among the first ones (Tang and Wang, 2018, section 3.3.1).
_PLACES = 2.0


@dataclass(frozen=True)
class Answers:
    """What labels and teacher say of every row."""

    labels: Array
    """float32 [rows]; of a row without a label, anything."""
    logits: Array
    """The teacher's, float32 [rows]."""
    share: Array
    """Weight of the teacher against the label, float32 [rows]: 1 where there is no label."""
    lists: Array
    """int64 [rows]: rows of one request share a number."""


@dataclass(frozen=True)
class Mixture:
    """How the parts of the loss are put together."""

    temperature: float
    list_share: float
    list_loss: ListLoss
    hints: float


class Objective(nn.Module):
    """The loss of a batch: (1 - list_share) * rows + list_share * lists + hints * hints."""

    def __init__(self, answers: Answers, mixture: Mixture, hints: Hints | None = None) -> None:
        super().__init__()
        self.answers = answers
        self.mixture = mixture
        self.hints = hints

    def forward(self, module: nn.Module, inputs: dict[str, Tensor], rows: Array) -> Tensor:
        """The loss of `module` on the given rows, whose inputs are given too."""
        logits = module(inputs, torch.arange(len(rows)))
        of_lists = self.mixture.list_share
        loss = (1 - of_lists) * self._rows(logits, rows)
        if of_lists:
            loss = loss + of_lists * self._lists(logits, rows)
        if self.hints is not None:
            loss = loss + self.mixture.hints * self.hints(inputs)
        return loss

    def _rows(self, logits: Tensor, rows: Array) -> Tensor:
        """(1 - share) BCE(label, z) + share T^2 BCE(sigmoid(z_teacher / T), z / T) (Hinton et al., 2015)."""
        labels, theirs, share = self._of(rows)
        heat = self.mixture.temperature
        hard = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        soft = functional.binary_cross_entropy_with_logits(
            logits / heat, torch.sigmoid(theirs / heat), reduction="none"
        )
        return ((1 - share) * hard + share * heat**2 * soft).mean()

    def _lists(self, logits: Tensor, rows: Array) -> Tensor:
        _, numbers = np.unique(self.answers.lists[rows], return_inverse=True)
        lists = torch.from_numpy(numbers)
        labels, theirs, share = self._of(rows)
        count = int(numbers.max()) + 1
        if self.mixture.list_loss == "top_k":
            return -(place_weights(theirs, lists) * functional.logsigmoid(logits)).sum() / count
        heat = self.mixture.temperature
        # A positive row stands above the items that its user never met; a negative one says nothing of them.
        hard = (1 - share) * labels * -list_log_softmax(logits, lists)
        trust = torch.ones(count).index_add(0, lists, -((1 - share) * labels))
        target = list_log_softmax(theirs / heat, lists).exp()
        soft = trust[lists] * target * -list_log_softmax(logits / heat, lists)
        return (hard + heat**2 * soft).sum() / count

    def _of(self, rows: Array) -> tuple[Tensor, Tensor, Tensor]:
        answers = self.answers
        labels, theirs, share = (
            torch.from_numpy(values[rows]) for values in (answers.labels, answers.logits, answers.share)
        )
        return labels, theirs, share


def list_log_softmax(logits: Tensor, lists: Tensor) -> Tensor:
    """Log of the softmax within each list; `lists` numbers them from 0. Both are [rows]."""
    count = int(lists.max()) + 1
    highest = torch.full((count,), -torch.inf).scatter_reduce(0, lists, logits.detach(), "amax")
    shifted = logits - highest[lists]
    return shifted - torch.zeros(count).index_add(0, lists, shifted.exp()).log()[lists]


def place_weights(logits: Tensor, lists: Tensor) -> Tensor:
    """Weight of each row by its place in its list, by descending logit: falling over the first ones, then 0; [rows]."""
    best_first = torch.argsort(logits, descending=True, stable=True)
    order = best_first[torch.argsort(lists[best_first], stable=True)]
    sizes = torch.bincount(lists)
    places = torch.arange(len(lists)) - (torch.cumsum(sizes, 0) - sizes)[lists[order]]
    weights = torch.zeros(len(lists))
    weights[order] = torch.where(places < TOP_K, torch.exp(-places / _PLACES), 0.0)
    totals = torch.zeros(len(sizes)).index_add(0, lists, weights)
    return weights / totals[lists]
