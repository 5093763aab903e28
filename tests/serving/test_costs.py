"""What a run of so many rows is expected to take."""

import pytest
from app.serving.costs import RunCost
from hypothesis import given
from hypothesis import strategies as st

SECONDS = st.floats(1e-5, 1.0)
ROWS = st.integers(1, 10_000)


def test_a_line_is_found_again() -> None:
    cost = RunCost([(rows, 0.001 + 0.00001 * rows) for rows in (1, 10, 100, 1000)])
    assert cost.seconds(500) == pytest.approx(0.006)
    assert cost.rows_within(0.003) == pytest.approx(200, abs=1)
    assert cost.rows_within(0.0) == 1


def test_one_timing_is_a_cost_for_any_number_of_rows() -> None:
    cost = RunCost([(1, 0.002)])
    assert cost.seconds(1) == cost.seconds(1000) == pytest.approx(0.002)
    assert cost.rows_within(1.0) > 10**6


def test_a_machine_that_has_become_slower_is_learned_at_sizes_that_are_not_seen_too() -> None:
    cost = RunCost([(rows, 0.001 + 0.00001 * rows) for rows in (1, 1000)])
    for _ in range(200):
        cost.note(100, 2 * 0.002)
    assert cost.seconds(100) == pytest.approx(0.004, rel=0.05)
    assert cost.seconds(1000) == pytest.approx(0.022, rel=0.25)
    assert cost.seconds(1) == pytest.approx(0.002, rel=0.25)


def test_what_is_not_seen_keeps_pace_with_others_and_comes_down_again_with_them() -> None:
    cost = RunCost([(rows, 0.001 + 0.00001 * rows) for rows in (1, 1000)])
    cost.keep_pace(2.0)
    assert (cost.seconds(1), cost.seconds(1000)) == (pytest.approx(0.00202), pytest.approx(0.022))
    cost.keep_pace(1.25)
    assert cost.seconds(1000) == pytest.approx(0.01375)
    cost.note(100, 0.002)  # one run of its own, as fast as ever
    cost.keep_pace(1.0)
    assert cost.scale == pytest.approx(1.0, abs=0.01), "what it was told is not what it has seen"
    for _ in range(200):
        cost.note(100, 0.003)
    cost.keep_pace(1.0)
    assert cost.seconds(100) == pytest.approx(0.003, rel=0.05), "its own runs were slower"
    for _ in range(200):
        cost.note(100, 0.002)
    assert cost.scale == pytest.approx(1.0, rel=0.05), "its own runs say otherwise"
    assert cost.seconds(100) == pytest.approx(0.002, rel=0.05)


def test_one_interrupted_run_changes_little() -> None:
    cost = RunCost([(rows, 0.001 + 0.00001 * rows) for rows in (1, 1000)])
    for _ in range(50):
        cost.note(100, 0.002)
    cost.note(100, 10.0)
    assert cost.seconds(100) < 0.003


@given(
    st.lists(st.tuples(ROWS, SECONDS), min_size=1, max_size=8),
    st.lists(st.tuples(ROWS, SECONDS), max_size=60),
    ROWS,
)
def test_a_cost_is_a_number_that_does_not_fall_with_the_rows(
    timings: list[tuple[int, float]], runs: list[tuple[int, float]], rows: int
) -> None:
    cost = RunCost(timings)
    for run in runs:
        cost.note(*run)
    assert 0 <= cost.seconds(rows) <= cost.seconds(rows + 1) < 10_000
    assert cost.rows_within(cost.seconds(rows)) >= 1
