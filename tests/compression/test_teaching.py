"""Teaching: what the student learns from the labels and what from the teacher."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from app.compression.teaching import TeachingConfig, teach
from app.compression.workshop import Progress, Workshop
from app.errors import CompressionFailed
from app.training.architecture import build
from app.training.fit import predict
from app.training.rows import Prepared
from torch import nn


class Contrary(nn.Module):
    """A teacher that says the opposite of another."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.other = other

    def forward(self, inputs: dict[str, torch.Tensor], row_request: torch.Tensor) -> torch.Tensor:
        return -self.other(inputs, row_request)


def taught(workshop: Workshop, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    student = build("dcn_v2", {"embedding_dimension": 4, "hidden": [16]}, workshop.encoder)
    config = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, **settings}
    teach(student, TeachingConfig(**config), workshop)
    return student


@pytest.fixture
def contrary(workshop: Workshop) -> Workshop:
    """The same surroundings with another teacher."""
    return replace(workshop, teacher=Contrary(workshop.teacher))


@pytest.fixture
def mislabelled(workshop: Workshop, prepared: Prepared) -> Workshop:
    """The same surroundings with other labels."""
    train = replace(prepared.train, labels=1 - prepared.train.labels)
    return replace(workshop, prepared=replace(prepared, train=train))


def same(ours: nn.Module, theirs: nn.Module) -> bool:
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_with_a_share_of_0_the_labels_alone_teach(
    workshop: Workshop, contrary: Workshop, mislabelled: Workshop
) -> None:
    student = taught(workshop, teacher_share=0)
    assert same(student, taught(contrary, teacher_share=0))
    assert not same(student, taught(mislabelled, teacher_share=0))


def test_with_a_share_of_1_the_teacher_alone_teaches(
    workshop: Workshop, contrary: Workshop, mislabelled: Workshop, prepared: Prepared
) -> None:
    student = taught(workshop, teacher_share=1)
    assert same(student, taught(mislabelled, teacher_share=1))
    truth = predict(workshop.teacher, prepared.test)
    for module, sign in ((student, 1), (taught(contrary, teacher_share=1), -1)):
        assert sign * np.corrcoef(predict(module, prepared.test), truth)[0, 1] > 0.8


def test_pairs_without_labels_are_taught_by_the_teacher_whatever_its_share(
    workshop: Workshop, contrary: Workshop
) -> None:
    with_pairs = [taught(one, teacher_share=0, unlabelled=1) for one in (workshop, contrary)]
    assert not same(*with_pairs)


def test_the_seed_draws_the_pairs_and_the_order(workshop: Workshop) -> None:
    student = taught(workshop, unlabelled=0.5)
    assert same(student, taught(workshop, unlabelled=0.5))
    assert not same(student, taught(replace(workshop, seed=1), unlabelled=0.5))


def test_without_rows_it_says_so(workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match="teaching needs rows"):
        taught(replace(workshop, prepared=None))


def test_teaching_that_diverges_says_so(workshop: Workshop) -> None:
    student = build("dcn_v2", {}, workshop.encoder)
    with pytest.raises(CompressionFailed, match="training diverged: the loss is not a number"):
        teach(student, TeachingConfig(learning_rate=1e30, batch_size=64), workshop)


def score_of(student: nn.Module, workshop: Workshop, prepared: Prepared) -> float:
    """How well its logits agree with the teacher's."""
    return float(np.corrcoef(predict(student, prepared.test), predict(workshop.teacher, prepared.test))[0, 1])


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 3.0},
        {"list_share": 0.3, "unlabelled": 2},
        {"list_share": 0.3, "unlabelled": 2, "list_loss": "top_k", "sampling": "traffic"},
        {"hints": 0.5},
    ],
    ids=str,
)
def test_every_way_of_teaching_brings_the_student_to_its_teacher(
    workshop: Workshop, prepared: Prepared, settings: dict[str, Any]
) -> None:
    settings = {"teacher_share": 1, **settings}
    student = taught(workshop, **settings)
    assert score_of(student, workshop, prepared) > 0.8
    assert same(student, taught(workshop, **settings))
    plain = taught(workshop, teacher_share=1, **{k: v for k, v in settings.items() if k == "unlabelled"})
    assert not same(student, plain)
    assert not any(one._forward_pre_hooks for one in workshop.teacher.modules())


def test_lists_need_companions(workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match="list_share needs unlabelled above 0"):
        taught(workshop, list_share=0.5)


def test_further_teachers_are_trained_once_and_averaged(workshop: Workshop, prepared: Prepared) -> None:
    told: list[float] = []
    asked: list[int] = []

    def another(number: int, progress: Progress) -> nn.Module:
        asked.append(number)
        progress(1.0, "trained")
        return Contrary(workshop.teacher)

    one = replace(workshop, another_teacher=another, progress=lambda done, what: told.append(done))
    student = taught(one, teachers=2, teacher_share=1)
    assert asked == [1]
    assert told == sorted(told)
    assert told[0] == pytest.approx(0.7)
    # A teacher and its opposite say nothing together: every logit is 0.
    assert np.abs(predict(student, prepared.test)).max() < 0.5
    with pytest.raises(CompressionFailed, match="teachers: "):
        taught(replace(workshop, another_teacher=None), teachers=2)
