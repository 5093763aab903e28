"""Rows without labels: real requests, items that are new to their user."""

from dataclasses import replace

import numpy as np
import pytest
from app.compression.unlabelled import Sampling, with_unseen_pairs
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Prepared, Rows
from hypothesis import given
from hypothesis import strategies as st

SAMPLINGS = st.sampled_from(["uniform", "traffic"])


def more_rows(rows: Rows, count: int, sampling: Sampling = "uniform", seed: int = 0) -> tuple[Rows, Array]:
    return with_unseen_pairs(rows, count, sampling, np.random.default_rng(seed))


@given(count=st.integers(0, 200), seed=st.integers(0, 5), sampling=SAMPLINGS)
def test_new_items_are_asked_for_real_requests(
    prepared: Prepared, count: int, seed: int, sampling: Sampling
) -> None:
    rows = prepared.train.take(np.arange(40))
    more, requests = more_rows(rows, count, sampling, seed)
    assert len(more) == len(requests) == 40 + count
    first, added = np.arange(40), np.arange(40, 40 + count)
    for name, values in rows.inputs(first).items():
        np.testing.assert_array_equal(more.inputs(first)[name], values)
    np.testing.assert_array_equal(more.labels[:40], rows.labels)
    np.testing.assert_array_equal(requests[:40], first)
    assert (more.labels[added] == 0.5).all()
    np.testing.assert_array_equal(more.user_row[added], rows.user_row[requests[added]])
    for name, values in more.per_row.items():
        np.testing.assert_array_equal(values[added], rows.per_row[name][requests[added]])
    assert set(more.item_row[added]) <= set(range(len(prepared.item_ids)))


@given(sampling=SAMPLINGS)
def test_no_pair_is_one_of_the_rows(prepared: Prepared, sampling: Sampling) -> None:
    train = prepared.train
    more, _ = more_rows(train, 20_000, sampling)
    codes = more.user_row * len(prepared.item_ids) + more.item_row
    assert not np.isin(codes[len(train) :], codes[: len(train)]).any()


def test_evenly_drawn_items_are_spread_over_the_catalog_and_popular_ones_are_not(prepared: Prepared) -> None:
    train = prepared.train.take(np.arange(400))  # so few that a user has met almost nothing
    wanted = np.bincount(train.item_row, minlength=len(prepared.item_ids))
    counts = {}
    for sampling in ("uniform", "traffic"):
        more, _ = more_rows(train, 20_000, sampling)
        counts[sampling] = np.bincount(more.item_row[len(train) :], minlength=len(prepared.item_ids))
    assert counts["uniform"].min() > 0
    assert np.corrcoef(counts["traffic"], wanted)[0, 1] > 0.8
    assert np.corrcoef(counts["uniform"], wanted)[0, 1] < 0.2


def test_a_user_who_met_everything_is_not_asked(prepared: Prepared) -> None:
    count = len(prepared.item_ids)
    users = np.append(np.zeros(count, dtype=np.int64), 1)
    items = np.append(np.arange(count), 0)
    rows = prepared.train.take(np.zeros(count + 1, dtype=np.int64))
    rows = replace(rows, user_row=users, item_row=items)
    more, requests = more_rows(rows, 50)
    assert set(requests[count + 1 :]) == {count}
    with pytest.raises(CompressionFailed, match="every user has met every item"):
        more_rows(rows.take(np.arange(count)), 1)
    assert len(more_rows(rows.take(np.arange(count)), 0)[0]) == count
    assert more.item_row[count + 1 :].min() > 0
