"""Turns of the batcher: who shares a run, who gives way, and how long the wait is."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest
from app.encoding import Array
from app.serving import batcher
from app.serving.lane import TURN_SECONDS, Lane

from tests.clocks import stand_still
from tests.serving.held import Bench, HeldSession, Steady, outcomes, play


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as one:
        yield one


def test_a_large_request_lets_small_ones_pass(executor: Executor) -> None:
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
        assert sizes[:2] == [(-1.0, 1), (2.0, 3)], "those that came after it, together"
        assert sizes[2:] == [(1.0, 4)] * 3

    play(scene)


def test_many_large_requests_hold_no_small_one_up_and_take_turns(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=4, row_seconds=0.005)
        first = await bench.occupied()
        large = [await bench.send(*[float(number)] * 12) for number in (10, 20, 30)]
        small = await bench.send(1.0)
        bench.session.go.set()
        assert await outcomes(first, *large, small) == [[-1.0], [10.0] * 12, [20.0] * 12, [30.0] * 12, [1.0]]
        order = [run[0] for run in bench.session.runs[1:]]
        # What is left after two turns is small.
        assert order == [1.0, 10.0, 20.0, 30.0, 10.0, 10.0, 20.0, 20.0, 30.0, 30.0]

    play(scene)


def test_a_large_request_has_a_turn_for_each_turn_of_small_ones(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=2, row_seconds=0.005)
        first = await bench.occupied()
        large = await bench.send(*[9.0] * 6)
        small = [await bench.send(1.0, 1.0) for _ in range(4)]
        bench.session.go.set()
        assert await outcomes(first, large, *small) == [[-1.0], [9.0] * 6, *[[1.0, 1.0]] * 4]
        # Two rows take 15 ms, more than a turn. The last two of the large one are small enough for the other line.
        assert [run[0] for run in bench.session.runs[1:]] == [1.0, 9.0, 1.0, 9.0, 1.0, 1.0, 9.0]

    play(scene)


def test_a_large_request_has_its_turn_though_others_leave_again_and_again(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=2, row_seconds=0.005)
        first = await bench.occupied()
        large = await bench.send(*[9.0] * 4)
        small = [await bench.send(1.0, 1.0) for _ in range(3)]
        leaving = await bench.send(2.0, 2.0)
        leaving.cancel()
        run = bench.session.run

        def run_and_forget(inputs: Mapping[str, Array], row_request: Array) -> Array:
            loop.call_soon_threadsafe(bench.batcher.forget_gone)  # before the loop is told of the run
            return run(inputs, row_request)

        loop, bench.session.run = asyncio.get_running_loop(), run_and_forget  # type: ignore[method-assign]
        bench.session.go.set()
        assert await outcomes(first, large, *small) == [[-1.0], [9.0] * 4, *[[1.0, 1.0]] * 3]
        assert [run[0] for run in bench.session.runs[1:]] == [1.0, 9.0, 1.0, 1.0, 9.0]
        with pytest.raises(asyncio.CancelledError):
            await leaving

    play(scene)


def test_the_wait_of_a_small_request_has_few_turns_of_large_ones_in_it(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_still(monkeypatch, batcher)  # a run has all of its time left

    async def scene() -> None:
        bench = Bench(executor, run_rows=2, row_seconds=0.0051)
        first = await bench.occupied()
        large = [await bench.send(*[9.0] * 100) for _ in range(5)]
        assert bench.batcher.wait_seconds(bench.lane, 1) == pytest.approx(0.0101), "what runs now"
        small = [await bench.send(1.0) for _ in range(3)]  # 10.1 ms each
        behind = bench.batcher.wait_seconds(bench.lane, 1)
        assert behind == pytest.approx(0.0101 + 0.0303 + 6 * TURN_SECONDS)
        # A large one waits for all of it: 5 of about half a second each.
        assert bench.batcher.wait_seconds(bench.lane, 3) == pytest.approx(0.0101 + 0.0303 + 5 * 0.515)
        bench.session.go.set()
        await outcomes(first, *large, *small)

    play(scene)


def test_the_wait_has_in_it_what_is_left_of_a_large_request_after_its_turn(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_still(monkeypatch, batcher)  # a run has all of its time left

    async def scene() -> None:
        bench = Bench(executor, run_rows=2, row_seconds=0.0051)
        large = await bench.send(*[9.0] * 100)
        await asyncio.sleep(0)  # its first turn, of two rows, is under way
        assert bench.batcher.depth == 0
        turn, left = bench.lane.cost.seconds(2), bench.lane.cost.seconds(98)
        assert bench.batcher.wait_seconds(bench.lane, 3) == pytest.approx(turn + left)
        assert bench.batcher.wait_seconds(bench.lane, 1) == pytest.approx(turn), "and nothing after it"
        small = [await bench.send(1.0) for _ in range(3)]  # 10.1 ms each
        behind = bench.batcher.wait_seconds(bench.lane, 1)
        assert behind == pytest.approx(turn + 0.0303 + 6 * TURN_SECONDS)
        bench.session.go.set()
        await outcomes(large, *small)
        assert bench.batcher.wait_seconds(bench.lane, 3) <= turn * 1.001, "nobody is left"

    play(scene)


def test_a_request_does_not_join_a_run_that_would_make_another_late(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=10_000, row_seconds=0.01)
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
        assert bench.batcher.wait_seconds(bench.lane, 1) == 0
        first = await bench.occupied()
        others = [await bench.send(float(n)) for n in range(4)]
        assert not bench.batcher.idle
        assert 0.020 <= bench.batcher.wait_seconds(bench.lane, 1) <= 0.025
        bench.session.go.set()
        await outcomes(first, *others)
        await asyncio.sleep(0)
        assert bench.batcher.idle
        assert bench.batcher.wait_seconds(bench.lane, 1) <= 0.005

    play(scene)
