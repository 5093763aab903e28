"""The parts of a student's loss, against what they are by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from app.compression.objective import Answers, Mixture, Objective, list_log_softmax, place_weights
from app.encoding import Array
from torch import Tensor, nn
from torch.nn import functional

LISTS = np.array([3, 1, 3, 1, 3, 7])
ROWS = np.arange(6)


class Fixed(nn.Module):
    """A student that says what it is told to."""

    def __init__(self, logits: Array) -> None:
        super().__init__()
        self.logits = torch.from_numpy(logits)

    def forward(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:  # noqa: ARG002
        return self.logits[inputs["row"]]


def some(seed: int, rows: int = 6) -> Array:
    return np.random.default_rng(seed).standard_normal(rows).astype(np.float32)


def loss(student: Array, answers: Answers, **mixture: Any) -> float:
    plain: dict[str, Any] = {"temperature": 1.0, "list_share": 0.0, "list_loss": "softmax", "hints": 0.0}
    objective = Objective(answers, Mixture(**(plain | mixture)))
    return float(objective(Fixed(student), {"row": torch.from_numpy(ROWS)}, ROWS))


def answers(share: float = 1.0, teacher: Array | None = None) -> Answers:
    labels = np.array([1, 0, 0.5, 0.5, 0.5, 1], dtype=np.float32)
    shares = np.array([share, share, 1, 1, 1, share], dtype=np.float32)
    return Answers(labels, some(1) if teacher is None else teacher, shares, LISTS)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("heat", [1.0, 4.0])
def test_rows_follow_hintons_formula(heat: float) -> None:
    student, given = some(0), answers(share=0.3)
    soft = sigmoid(given.logits / heat)
    ours = sigmoid(student / heat)
    hard = -(given.labels * np.log(sigmoid(student)) + (1 - given.labels) * np.log(sigmoid(-student)))
    warm = -(soft * np.log(ours) + (1 - soft) * np.log(1 - ours))
    wanted = ((1 - given.share) * hard + given.share * heat**2 * warm).mean()
    assert loss(student, given, temperature=heat) == pytest.approx(wanted, rel=1e-5)


def test_at_temperature_1_it_is_the_loss_on_mixed_targets() -> None:
    student, given = some(0), answers(share=0.3)
    mixed = (1 - given.share) * given.labels + given.share * sigmoid(given.logits)
    wanted = functional.binary_cross_entropy_with_logits(torch.from_numpy(student), torch.from_numpy(mixed))
    assert loss(student, given) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("heat", [1.0, 2.0])
def test_a_teachers_list_is_the_cross_entropy_of_two_softmaxes(heat: float) -> None:
    student, given = some(0), answers()
    total = 0.0
    for number in np.unique(LISTS):
        ours, theirs = (torch.from_numpy(one[number == LISTS]) / heat for one in (student, given.logits))
        total += heat**2 * float(functional.cross_entropy(ours, theirs.softmax(0)))
    assert loss(student, given, list_share=1.0, temperature=heat) == pytest.approx(total / 3, rel=1e-5)


def test_a_positive_row_stands_above_its_companions_as_far_as_labels_count() -> None:
    student, given = some(0), answers(share=0.0)
    ours = list_log_softmax(
        torch.from_numpy(student), torch.from_numpy(np.unique(LISTS, return_inverse=True)[1])
    )
    theirs = torch.from_numpy(given.logits)[[1, 3]].softmax(0)
    # Lists 3 and 7 have a positive row, of which the label alone speaks; list 1 has a negative one.
    total = -float(ours[0]) - float(ours[5]) - float((theirs * ours[[1, 3]]).sum())
    assert loss(student, given, list_share=1.0) == pytest.approx(total / 3, rel=1e-5)


def test_lists_and_rows_are_weighted_by_the_share() -> None:
    student, given = some(0), answers(share=0.5)
    rows, lists = (loss(student, given, list_share=one) for one in (0.0, 1.0))
    assert loss(student, given, list_share=0.25) == pytest.approx(0.75 * rows + 0.25 * lists, rel=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "top_k"])
def test_the_teachers_order_costs_less_than_the_opposite(kind: str) -> None:
    given = answers()
    agree, contrary = (loss(sign * given.logits, given, list_share=1.0, list_loss=kind) for sign in (1, -1))
    assert agree < contrary


def test_large_logits_stay_numbers() -> None:
    logits = torch.tensor([1e4, -1e4, 0.0])
    found = list_log_softmax(logits, torch.tensor([0, 0, 1]))
    assert found.tolist() == [0.0, -2e4, 0.0]


def test_places_of_a_list_weigh_less_and_less_and_sum_to_1() -> None:
    logits = torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0, 9.0])
    weights = place_weights(logits, torch.tensor([0, 0, 0, 0, 0, 1]))
    falling = [math.exp(-place / 2) for place in range(3)]
    wanted = [falling[0], 0, 0, falling[2], falling[1]]
    assert weights[:5].tolist() == pytest.approx([one / sum(falling) for one in wanted])
    assert weights[5] == 1
