"""Bootstrap intervals: where they lie, how wide they are, and that both sides of a ratio see the same rows."""

import numpy as np
import numpy.typing as npt
import pytest
from app.training.metrics import FEW_USERS, auc, auc_intervals, mean_intervals

Floats = npt.NDArray[np.float64]


def drawn(rows: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Labels, a good score and a worse one."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.4).astype(float)
    good = labels + rng.standard_normal(rows)
    return labels, good, good + rng.standard_normal(rows)


def each(rows: int) -> npt.NDArray[np.int64]:
    """A user for every row."""
    return np.arange(rows)


@pytest.mark.parametrize("seed", range(4))
def test_an_interval_holds_its_value(seed: int) -> None:
    labels, good, worse = drawn(300, seed)
    for interval in (
        *auc_intervals(labels, worse, good, each(len(labels)), seed),
        *mean_intervals(good, labels + 1, each(300), seed),
    ):
        assert interval.low < interval.value < interval.high
    ours, ratio = auc_intervals(labels, worse, good, each(len(labels)), seed)
    assert ours.value == auc(labels, worse)
    assert ratio.value == pytest.approx(auc(labels, worse) / auc(labels, good))


def test_the_ratio_to_itself_is_exactly_1() -> None:
    labels, good, _ = drawn(200)
    for _, ratio in (
        auc_intervals(labels, good, good, each(len(labels)), 0),
        mean_intervals(good**2, good**2, each(200), 0),
    ):
        assert (ratio.low, ratio.value, ratio.high) == (1.0, 1.0, 1.0)


def test_a_paired_ratio_is_narrower_than_what_it_is_made_of() -> None:
    """A score that is almost the baseline's shares its luck: only resampling both alike shows that."""
    labels, good, _ = drawn(500)
    ours, ratio = auc_intervals(labels, good + 1e-3 * np.sin(each(500)), good, each(500), 0)
    assert ratio.high - ratio.low < 0.05 * (ours.high - ours.low)


def test_the_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(1).standard_normal(2000) + 3
    mean, _ = mean_intervals(values, values, each(2000), 0)
    expected = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert mean.high - mean.low == pytest.approx(expected, rel=0.15)


def test_lists_that_say_the_same_of_a_user_tell_no_more_than_one() -> None:
    values = np.random.default_rng(1).standard_normal(500) + 3
    once, _ = mean_intervals(values, values, each(500), 0)
    often, _ = mean_intervals(*(np.repeat(values, 9),) * 2, np.repeat(each(500), 9), 0)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    as_if_alone, _ = mean_intervals(*(np.repeat(values, 9),) * 2, each(4500), 0)
    assert (once.high - once.low) / (as_if_alone.high - as_if_alone.low) == pytest.approx(3, rel=0.15)


def test_rows_that_say_the_same_of_a_user_tell_no_more_than_one() -> None:
    labels, good, worse = drawn(400)
    users = np.repeat(each(400), 9)
    often = [np.repeat(one, 9) for one in (labels, good, worse)]
    once, by_users, by_rows = (
        found
        for found, _ in (
            auc_intervals(labels, good, worse, each(400), 0),
            auc_intervals(*often, users, 0),
            auc_intervals(*often, each(3600), 0),
        )
    )
    assert (by_users.low, by_users.high) == pytest.approx((once.low, once.high))
    assert (by_users.high - by_users.low) / (by_rows.high - by_rows.low) == pytest.approx(3, rel=0.15)


def test_few_users_tell_nothing_of_how_users_differ() -> None:
    labels, good, worse = drawn(300)
    by_rows = auc_intervals(labels, good, worse, each(300), 0)
    assert auc_intervals(labels, good, worse, np.zeros(300, dtype=np.int64), 0) == by_rows
    assert auc_intervals(labels, good, worse, each(300) % (FEW_USERS - 1), 0) == by_rows
    assert auc_intervals(labels, good, worse, each(300) % FEW_USERS, 0) != by_rows


def test_a_user_counts_by_the_lists() -> None:
    """One of 30 users has half of all lists, and these are all alike."""
    users = np.concatenate([np.zeros(29), np.arange(1, 30)]).astype(np.int64)
    values = (users == 0).astype(np.float64)
    mean, _ = mean_intervals(values, values, users, 0)
    assert (mean.low, mean.value) == (0.0, 0.5)
    assert mean.high > 0.7


def test_of_few_users_the_lists_are_drawn() -> None:
    values = np.tile([0.0, 1.0], 50)
    alone, _ = mean_intervals(values, values, np.zeros(100, dtype=np.int64), 0)
    assert alone.low == pytest.approx(0.4, abs=0.03)
    assert alone.high == pytest.approx(0.6, abs=0.03)


def test_four_times_the_rows_halve_the_width() -> None:
    widths = []
    for rows in (500, 2000):
        labels, good, worse = drawn(rows)
        interval, _ = auc_intervals(labels, good, worse, each(len(labels)), 0)
        widths.append(interval.high - interval.low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def test_equal_seeds_give_equal_intervals() -> None:
    labels, good, worse = drawn(100)
    assert auc_intervals(labels, good, worse, each(len(labels)), 5) == auc_intervals(
        labels, good, worse, each(len(labels)), 5
    )
    assert auc_intervals(labels, good, worse, each(len(labels)), 5) != auc_intervals(
        labels, good, worse, each(len(labels)), 6
    )
    assert mean_intervals(good, worse, each(100), 5) == mean_intervals(good, worse, each(100), 5)


def test_a_baseline_of_nothing_does_not_divide_by_0() -> None:
    labels = np.array([0.0, 0.0, 1.0, 1.0] * 5)
    _, ratio = auc_intervals(labels, labels, -labels, each(len(labels)), 0)
    assert np.isfinite([ratio.low, ratio.value, ratio.high]).all()
    _, ratio = mean_intervals(labels, np.zeros(20), each(20), 0)
    assert np.isfinite([ratio.low, ratio.value, ratio.high]).all()
