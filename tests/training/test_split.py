"""Which rows are for what."""

import itertools

import numpy as np
import pytest
from app.errors import DataUnavailable
from app.model_card import Split as SplitRule
from app.training.data.dataset import Dataset
from app.training.split import Split, split_rows
from hypothesis import given
from hypothesis import strategies as st

from tests.training.lessons import dataset_of

RANDOM, TEMPORAL = SplitRule(), SplitRule(kind="temporal")


def rows(count: int, times: list[int] | None = None) -> Dataset:
    columns = {"user_id": ["u"] * count, "item_id": ["i"] * count}
    return dataset_of(columns if times is None else columns | {"timestamp": times})


def sizes(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.validation), len(split.test)


def as_lists(split: Split) -> list[list[int]]:
    return [part.tolist() for part in (split.train, split.validation, split.test)]


def test_eight_one_one() -> None:
    assert sizes(split_rows(rows(1000), RANDOM)) == (800, 100, 100)
    assert sizes(split_rows(rows(1000, list(range(1000))), TEMPORAL)) == (800, 100, 100)
    assert sizes(split_rows(rows(1000), SplitRule(validation=0.2, test=0.3))) == (500, 200, 300)


@given(
    st.lists(st.integers(0, 20), min_size=10, max_size=60),
    st.sampled_from(["random", "temporal"]),
    st.integers(0, 5),
    st.floats(0.1, 0.4),
    st.floats(0.1, 0.4),
)
def test_every_row_is_in_one_part(
    times: list[int], kind: str, seed: int, validation: float, test: float
) -> None:
    rule = SplitRule.model_validate({"kind": kind, "seed": seed, "validation": validation, "test": test})
    split = split_rows(rows(len(times), times), rule)
    parts = as_lists(split)
    assert sorted(itertools.chain(*parts)) == list(range(len(times)))
    assert all(part == sorted(part) and part for part in parts)
    if kind == "temporal":
        moments = np.array(times)
        assert moments[split.train].max() <= moments[split.validation].min()
        assert moments[split.validation].max() <= moments[split.test].min()


def test_the_seed_decides_a_random_split_alone() -> None:
    first, same, other = (split_rows(rows(500), SplitRule(seed=seed)) for seed in (3, 3, 4))
    assert as_lists(first) == as_lists(same)
    assert as_lists(first) != as_lists(other)
    assert first.test.max() > 250 > first.test.min(), "they are spread over the data"


def test_the_newest_rows_are_for_the_test() -> None:
    times = [50, 10, 90, 30, 70, 20, 80, 40, 60, 0]
    split = split_rows(rows(10, times), SplitRule(kind="temporal", validation=0.2, test=0.2))
    assert as_lists(split) == [[0, 1, 3, 5, 7, 9], [4, 8], [2, 6]]


def test_of_rows_of_one_moment_the_later_ones_are_newer() -> None:
    split = split_rows(rows(10, [5] * 10), TEMPORAL)
    assert as_lists(split) == [[0, 1, 2, 3, 4, 5, 6, 7], [8], [9]]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_too_few_rows(count: int) -> None:
    with pytest.raises(DataUnavailable, match=f"{count} interactions are too few to divide"):
        split_rows(rows(count), RANDOM)


def test_no_rows_are_left_for_training() -> None:
    with pytest.raises(DataUnavailable, match="4 interactions are too few"):
        split_rows(rows(4), SplitRule(validation=0.49, test=0.49))


def test_a_temporal_split_needs_times() -> None:
    with pytest.raises(DataUnavailable, match="a temporal split needs a column 'timestamp'"):
        split_rows(rows(100), TEMPORAL)
