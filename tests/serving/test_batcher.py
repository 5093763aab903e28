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
from app.errors import DeadlineExceeded, NotReady, Overloaded
from app.serving.batcher import Batcher, Scored
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


class Bench:
    """A batcher over a HeldSession in a thread of its own."""

    def __init__(self, executor: Executor, **limits: int) -> None:
        self.session = HeldSession()
        limits = {"max_queue": 100, "max_batch_rows": 1000} | limits
        self.batcher = Batcher(self.session, frozenset({"base"}), executor, **limits)

    async def send(self, *values: float, base: float = 0.0, deadline: float = LATER) -> asyncio.Task[Scored]:
        """A request that has taken its place in the queue."""
        inputs = {"base": np.array([base], np.float32), "value": np.array(values, np.float32)}
        task = asyncio.create_task(self.batcher.score(Features(inputs, len(values)), deadline))
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
        bench = Bench(executor, max_batch_rows=4)
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
        bench = Bench(executor, max_batch_rows=2)
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


def test_a_full_queue_refuses_and_does_not_count_what_runs(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, max_queue=2)
        first = await bench.occupied()
        waiting = [await bench.send(1.0), await bench.send(2.0)]
        refused = await bench.send(3.0)
        (error,) = await outcomes(refused)
        assert isinstance(error, Overloaded)
        assert error.details == {"retry_after_seconds": 1}
        bench.session.go.set()
        assert await outcomes(first, *waiting) == [[-1.0], [1.0], [2.0]]
        assert await outcomes(await bench.send(4.0)) == [[4.0]]

    play(scene)


def test_a_client_that_goes_away_leaves_its_place_to_others(executor: Executor) -> None:
    async def scene() -> None:
        bench = Bench(executor, max_queue=1)
        first = await bench.occupied()
        gone = await bench.send(1.0)
        gone.cancel()
        assert [type(one) for one in await asyncio.gather(gone, return_exceptions=True)] == [
            asyncio.CancelledError
        ]
        other = await bench.send(2.0)
        bench.session.go.set()
        assert await outcomes(first, other) == [[-1.0], [2.0]]
        assert bench.session.runs == [[-1.0], [2.0]]

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


def test_every_future_is_resolved_when_the_executor_is_shut(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        bench = Bench(executor, max_batch_rows=1)
        first = await bench.occupied()
        waiting = [await bench.send(1.0), await bench.send(2.0)]
        executor.shutdown(wait=False, cancel_futures=True)
        bench.session.go.set()
        scores, *others = await outcomes(first, *waiting, await bench.send(3.0))
        assert scores == [-1.0], "a run under way ends"
        # A quick run needs no executor; whatever needs one is told that the service ends.
        for one, expected in zip(others, ([1.0], [2.0], [3.0]), strict=True):
            assert one == expected or isinstance(one, NotReady)

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
