"""Teaching: what the student learns from the labels and what from the teacher."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from app.compression.teaching import TeachingConfig, teach, with_random_items
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.architecture import build
from app.training.fit import predict
from app.training.rows import Prepared
from hypothesis import given
from hypothesis import strategies as st
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


@given(count=st.integers(0, 200), seed=st.integers(0, 5))
def test_random_items_are_asked_for_real_requests(prepared: Prepared, count: int, seed: int) -> None:
    rows = prepared.train.take(np.arange(40))
    more = with_random_items(rows, count, np.random.default_rng(seed))
    assert len(more) == 40 + count
    first, added = np.arange(40), np.arange(40, 40 + count)
    for name, values in rows.inputs(first).items():
        np.testing.assert_array_equal(more.inputs(first)[name], values)
    np.testing.assert_array_equal(more.labels[:40], rows.labels)
    assert (more.labels[added] == 0.5).all()
    requests = {
        (row, *(v[n].tobytes() for v in rows.per_row.values())) for n, row in enumerate(rows.user_row)
    }
    asked = [(more.user_row[n], *(v[n].tobytes() for v in more.per_row.values())) for n in added]
    assert set(asked) <= requests
    assert set(more.item_row[added]) <= set(range(len(prepared.item_ids)))


def test_random_items_are_spread_over_the_whole_catalog(prepared: Prepared) -> None:
    more = with_random_items(prepared.train, 5_000, np.random.default_rng(0))
    counts = np.bincount(more.item_row[len(prepared.train) :], minlength=len(prepared.item_ids))
    assert counts.min() > 0
    assert counts.max() < 4 * counts.mean()
