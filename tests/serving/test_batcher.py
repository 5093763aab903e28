"""The queue before a session: in order, bounded, and every future resolved whatever happens."""

import asyncio
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from app.encoding import Array
from app.errors import DeadlineExceeded, NotReady
from app.serving.batcher import Batcher, Scored
from app.serving.costs import RunCost
from app.serving.lane import Lane
from app.serving.query import Features
from app.serving.session import Session

LATER = float("inf")
BAD = 666.0


class HeldSession(Session):
    """Scores each row with its own `value` plus that of its request; waits for `go`, and breaks on BAD."""

    def __init__(self) -> None:  # there is no graph to load
        self.go = threading.Event()
        self.runs: list[list[float]] = []

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        assert self.go.wait(60)
        self.runs.append(inputs["value"].tolist())
        if BAD in inputs["value"]:
            raise ValueError("this request breaks the graph")
        scores: Array = inputs["value"] + inputs["base"][row_request]
        return scores


class Steady(RunCost):
    """A cost that stays what it is."""

    def note(self, rows: int, seconds: float) -> None:
        """Learn nothing: the runs of these tests take no time of their own."""


class Bench:
    """A batcher and a HeldSession, whose runs are thought to be too slow for the event loop."""

    def __init__(self, executor: Executor, run_rows: int = 1000, row_seconds: float = 0.0) -> None:
        self.session = HeldSession()
        self.batcher = Batcher(executor)
        cost = Steady([(rows, 0.005 + row_seconds * rows) for rows in (1, 1000)])
        self.lane = Lane(self.session, frozenset({"base"}), cost, run_rows)

    async def send(self, *values: float, base: float = 0.0, deadline: float = LATER) -> asyncio.Task[Scored]:
        """A request that has taken its place in the queue."""
        inputs = {"base": np.array([base], np.float32), "value": np.array(values, np.float32)}
        features = Features(inputs, len(values))
        task = asyncio.create_task(self.batcher.score(self.lane, features, deadline))
        await asyncio.sleep(0)
        return task

    async def occupied(self) -> asyncio.Task[Scored]:
        """A request whose run is under way until `go`, so that all that follow wait."""
        first = await self.send(-1.0)
        await asyncio.sleep(0)  # its runner takes it out of the queue
        return first


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as one:
        yield one


def play(scene: Callable[[], Awaitable[Any]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scene(), 60)

    asyncio.run(bounded())


async def outcomes(*tasks: asyncio.Task[Scored]) -> list[Any]:
    """The scores of each request, or what it raised."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one.scores.tolist() if isinstance(one, Scored) else one for one in found]


def test_a_request_gets_its_scores_and_the_times_it_took(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        bench.session.go.set()
        scored = await (await bench.send(1.0, 2.0, base=10.0))
        assert scored.scores.tolist() == [11.0, 12.0]
        assert scored.queue_seconds >= 0
        assert scored.infer_seconds > 0

    play(scene)


def test_what_waits_is_run_together_in_order_and_each_gets_its_own_scores(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        first = await bench.occupied()
        others = [await bench.send(*([float(n)] * n), base=n * 100.0) for n in (3, 1, 2)]
        bench.session.go.set()
        assert await outcomes(first, *others) == [[-1.0], [303.0] * 3, [101.0], [202.0] * 2]
        assert bench.session.runs == [[-1.0], [3.0, 3.0, 3.0, 1.0, 2.0, 2.0]]

    play(scene)


def test_the_rows_of_a_run_are_bounded_and_nobody_overtakes(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=4)
        first = await bench.occupied()
        rows = ([1.0, 1.0], [2.0, 2.0, 2.0], [3.0], [4.0])
        others = [await bench.send(*values) for values in rows]
        bench.session.go.set()
        assert await outcomes(first, *others) == [[-1.0], *rows]
        # The third would fit into the second run, but it came after one that does not.
        assert bench.session.runs == [[-1.0], [1.0, 1.0], [2.0, 2.0, 2.0, 3.0], [4.0]]

    play(scene)


def test_a_large_request_is_run_in_parts(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=2)
        bench.session.go.set()
        large = await bench.send(1.0, 2.0, 3.0, 4.0, 5.0, base=10.0)
        assert await outcomes(large) == [[11.0, 12.0, 13.0, 14.0, 15.0]]
        assert bench.session.runs == [[1.0, 2.0], [3.0, 4.0], [5.0]]

    play(scene)


def test_a_request_whose_deadline_has_passed_is_never_run(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        first = await bench.occupied()
        late = await bench.send(1.0, deadline=time.perf_counter())
        other = await bench.send(2.0)
        bench.session.go.set()
        scores, error, others = await outcomes(first, late, other)
        assert (scores, others) == ([-1.0], [2.0])
        assert isinstance(error, DeadlineExceeded)
        assert bench.session.runs == [[-1.0], [2.0]]

    play(scene)


def test_a_queue_of_nothing_but_late_requests_comes_to_rest_and_goes_on(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        bench.session.go.set()
        late = [await bench.send(1.0, deadline=0.0) for _ in range(3)]
        assert {type(one) for one in await outcomes(*late)} == {DeadlineExceeded}
        assert await outcomes(await bench.send(2.0)) == [[2.0]]
        assert bench.session.runs == [[2.0]]

    play(scene)


def test_a_client_that_goes_away_is_told_apart_and_never_run(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        first = await bench.occupied()
        gone, other = await bench.send(1.0), await bench.send(2.0)
        gone.cancel()
        assert [type(one) for one in await asyncio.gather(gone, return_exceptions=True)] == [
            asyncio.CancelledError
        ]
        assert bench.batcher.depth == 2
        bench.batcher.forget_gone()
        assert bench.batcher.depth == 1
        late = await bench.send(3.0)
        late.cancel()
        bench.session.go.set()
        assert await outcomes(first, other) == [[-1.0], [2.0]]
        assert bench.session.runs == [[-1.0], [2.0]]

    play(scene)


def test_a_large_request_lets_small_ones_pass_between_its_turns(executor: Executor) -> None:
    async def scene() -> None:
        # A row takes a millisecond, so that a turn has 5 rows.
        bench = Bench(executor, run_rows=4, row_seconds=0.001)
        first = await bench.occupied()
        large = await bench.send(*[1.0] * 12)
        small = [await bench.send(2.0, 2.0), await bench.send(3.0)]
        bench.session.go.set()
        found = await outcomes(first, large, *small)
        assert found == [[-1.0], [1.0] * 12, [2.0, 2.0], [3.0]]
        sizes = [(run[0], len(run)) for run in bench.session.runs]
        assert sizes[:3] == [(-1.0, 1), (1.0, 4), (1.0, 1)], "one turn of the large one"
        assert sizes[3] == (2.0, 3), "then those that came after it, together"
        assert {value for value, _ in sizes[4:]} == {1.0}

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
        other = Lane(HeldSession(), frozenset({"base"}), RunCost([(1, 0.005), (1000, 0.005)]), 1000)
        first = await bench.occupied()
        mine, theirs = bench.lane, other
        tasks = []
        for number, lane in enumerate((mine, theirs, mine, theirs)):
            bench.lane = lane
            tasks.append(await bench.send(float(number)))
        for lane in (mine, theirs):
            lane._session.go.set()  # type: ignore[attr-defined]
        assert await outcomes(first, *tasks) == [[-1.0], [0.0], [1.0], [2.0], [3.0]]
        assert bench.session.runs == [[-1.0], [0.0, 2.0]]
        assert theirs._session.runs == [[1.0, 3.0]]  # type: ignore[attr-defined]

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


def test_a_client_that_goes_away_during_its_run_disturbs_nobody(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        first = await bench.occupied()
        other = await bench.send(2.0)
        first.cancel()
        bench.session.go.set()
        assert await outcomes(other) == [[2.0]]
        assert first.cancelled()

    play(scene)


def test_only_the_request_that_breaks_the_run_fails(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        first = await bench.occupied()
        others = [await bench.send(1.0), await bench.send(BAD, 2.0), await bench.send(3.0)]
        bench.session.go.set()
        scores, before, error, after = await outcomes(first, *others)
        assert (scores, before, after) == ([-1.0], [1.0], [3.0])
        assert isinstance(error, ValueError)
        assert await outcomes(await bench.send(4.0)) == [[4.0]]

    play(scene)


def test_everybody_is_told_when_the_executor_is_shut(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=1)
        first = await bench.occupied()
        waiting = [await bench.send(1.0), await bench.send(2.0)]
        executor.shutdown(wait=False, cancel_futures=True)
        bench.session.go.set()
        scores, *others = await outcomes(first, *waiting)
        others += await outcomes(await bench.send(3.0))
        assert scores == [-1.0], "a run under way ends"
        assert {type(one) for one in others} == {NotReady}

    play(scene)


def test_everybody_is_told_when_the_batcher_closes_even_who_is_being_run(
    executor: ThreadPoolExecutor,
) -> None:
    async def scene() -> None:
        bench = Bench(executor, run_rows=1)
        tasks = [await bench.occupied(), await bench.send(1.0)]
        bench.batcher.close()
        bench.session.go.set()
        assert {type(one) for one in await outcomes(*tasks)} == {NotReady}
        assert {type(one) for one in await outcomes(await bench.send(2.0))} == {NotReady}

    play(scene)


def test_a_run_that_never_began_is_failed_when_the_executor_is_shut(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        # Two queues share the thread; the second one's run waits behind the first one's.
        bench, behind = Bench(executor), Bench(executor)
        first, second = await bench.occupied(), await behind.occupied()
        executor.shutdown(wait=False, cancel_futures=True)
        bench.session.go.set()
        scores, error = await outcomes(first, second)
        assert scores == [-1.0]
        assert isinstance(error, NotReady)

    play(scene)


def test_a_batcher_that_rests_is_freed_with_its_session(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor)
        bench.session.go.set()
        await outcomes(*[await bench.send(float(n)) for n in range(5)])
        freed = weakref.ref(bench.session)
        del bench
        # The thread lets go of its last work only when it has new work.
        await asyncio.get_running_loop().run_in_executor(executor, int)
        assert freed() is None

    play(scene)
