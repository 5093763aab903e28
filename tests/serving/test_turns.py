"""Turns of the batcher: who shares a run, who gives way, and how long the wait is."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest
from app.serving.lane import Lane

from tests.serving.held import Bench, HeldSession, Steady, outcomes, play


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as one:
        yield one


def test_a_large_request_lets_small_ones_pass_between_its_turns(executor: Executor) -> None:
    async def scene() -> None:
        # A run takes 5 ms and a row another, so that a turn has no more rows than a run.
        bench = Bench(executor, run_rows=4, row_seconds=0.005)
        first = await bench.occupied()
        large = await bench.send(*[1.0] * 12)
        small = [await bench.send(2.0, 2.0), await bench.send(3.0)]
        bench.session.go.set()
        found = await outcomes(first, large, *small)
        assert found == [[-1.0], [1.0] * 12, [2.0, 2.0], [3.0]]
        sizes = [(run[0], len(run)) for run in bench.session.runs]
        assert sizes[:2] == [(-1.0, 1), (1.0, 4)], "one turn of the large one"
        assert sizes[2] == (2.0, 3), "then those that came after it, together"
        assert sizes[3:] == [(1.0, 4), (1.0, 4)]

    play(scene)


def test_a_request_does_not_join_a_run_that_would_make_another_late(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, row_seconds=0.01)
        first = await bench.occupied()
        near = time.perf_counter() + 30
        others = [
            await bench.send(1.0, deadline=near),
            await bench.send(*[2.0] * 5000),
            await bench.send(3.0),
        ]
        bench.session.go.set()
        assert await outcomes(first, *others) == [[-1.0], [1.0], [2.0] * 5000, [3.0]]
        assert bench.session.runs[1] == [1.0], "with 5,000 rows more it would have taken 50 seconds"

    play(scene)


def test_requests_for_other_graphs_do_not_keep_one_from_its_own(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        other = Lane(HeldSession(), frozenset({"base"}), Steady([(1, 0.005), (1000, 0.005)]), 1000)
        first = await bench.occupied()
        mine, theirs = bench.lane, other
        tasks = []
        for number, lane in enumerate((mine, theirs, mine, theirs)):
            bench.lane = lane
            tasks.append(await bench.send(float(number)))
        for lane in (mine, theirs):
            lane.scoring.go.set()  # type: ignore[attr-defined]
        assert await outcomes(first, *tasks) == [[-1.0], [0.0], [1.0], [2.0], [3.0]]
        assert bench.session.runs == [[-1.0], [0.0, 2.0]]
        assert theirs.scoring.runs == [[1.0, 3.0]]  # type: ignore[attr-defined]

    play(scene)


def test_the_wait_is_the_sum_of_what_is_before(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)  # every run is thought to take 5 ms
        assert bench.batcher.idle
        assert bench.batcher.wait_seconds(0.005) == 0
        first = await bench.occupied()
        others = [await bench.send(float(n)) for n in range(4)]
        assert not bench.batcher.idle
        assert 0.020 <= bench.batcher.wait_seconds(0.005) <= 0.025
        bench.session.go.set()
        await outcomes(first, *others)
        await asyncio.sleep(0)
        assert bench.batcher.idle
        assert bench.batcher.wait_seconds(0.005) <= 0.005

    play(scene)
