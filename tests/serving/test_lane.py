"""How a graph is run: in pieces or together, at sizes that were timed."""

import numpy as np
import pytest
from app.encoding import Array
from app.serving import lane as lane_module
from app.serving.costs import RunCost
from app.serving.lane import Lane, best_run_rows, keep_pace, time_runs
from app.serving.query import Features

from tests.clocks import stand_still
from tests.serving.held import Adding


def a_request(base: float, *values: float) -> Features:
    inputs: dict[str, Array] = {"base": np.array([base], np.float32), "value": np.array(values, np.float32)}
    return Features(inputs, len(values))


def test_a_part_is_run_in_pieces_of_the_best_size() -> None:
    session = Adding()
    lane = Lane(session, frozenset({"base"}), RunCost([(1, 1.0)]), run_rows=2)
    (scores,) = lane.run([(a_request(10, 1, 2, 3, 4, 5, 6), 1, 6)])
    assert scores.tolist() == [12, 13, 14, 15, 16]
    assert session.runs == [[2, 3], [4, 5], [6]]


def test_several_requests_are_one_run_and_each_row_finds_its_request() -> None:
    session = Adding()
    lane = Lane(session, frozenset({"base"}), RunCost([(1, 1.0)]), run_rows=10)
    found = lane.run([(a_request(10, 1, 2), 0, 2), (a_request(20, 1), 0, 1), (a_request(30, 5, 6, 7), 1, 3)])
    assert [one.tolist() for one in found] == [[11, 12], [21], [36, 37]]
    assert session.runs == [[1, 2, 1, 6, 7]]
    assert list(lane.recent_rows) == [5]


def test_the_fewest_rows_that_cost_about_the_least_each_are_run_together() -> None:
    timings = [(1, 0.001), (10, 0.0015), (100, 0.010), (1000, 0.0999)]
    assert best_run_rows(timings, 1024) == 100
    assert best_run_rows([*timings, (2000, 0.1)], 4096) == 2000
    assert best_run_rows([*timings, (2000, 0.1)], 1024) == 100
    assert best_run_rows(timings, 64) == 10
    assert best_run_rows([(100, 0.001)], 5) == 5, "nothing was timed at so few rows"


def test_runs_are_timed_at_every_size_and_slow_ones_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    ran, clock = list[int](), stand_still(monkeypatch, lane_module)

    def run(rows: int) -> None:
        ran.append(rows)
        clock.now += rows * 0.0003

    timings = time_runs(run, (1, 10, 100))
    assert timings == [(rows, pytest.approx(rows * 0.0003)) for rows in (1, 10, 100)]
    assert (ran.count(1), ran.count(100)) == (5, 1)


def test_a_graph_that_has_not_run_for_a_while_keeps_pace_with_the_one_that_ran_last() -> None:
    fresh, recent, stale = (
        Lane(Adding(), frozenset({"base"}), RunCost([(1, 0.001), (100, 0.002)]), run_rows=100)
        for _ in range(3)
    )
    for _ in range(200):
        fresh.cost.note(100, 0.006)
    fresh.last_run, recent.last_run = 10.0, 9.5
    keep_pace([stale, fresh, recent])
    assert stale.share_seconds(100) == pytest.approx(0.006, rel=0.05)
    assert recent.share_seconds(100) == pytest.approx(0.002), "which knows better"
    assert fresh.share_seconds(100) == pytest.approx(0.006, rel=0.05)


def test_what_the_session_raises_is_raised() -> None:
    lane = Lane(Adding(), frozenset({"base"}), RunCost([(1, 1.0)]), run_rows=10)
    with pytest.raises(KeyError):
        lane.run([(Features({"value": np.zeros(1, np.float32)}, 1), 0, 1)])
