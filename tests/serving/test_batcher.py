"""The queue before a session: in order, bounded, and every future resolved whatever happens."""

import asyncio
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest
from app.errors import DeadlineExceeded, NotReady

from tests.serving.held import BAD, Bench, outcomes, play


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as one:
        yield one


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
        await bench.in_the_thread()
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
        await bench.in_the_thread()
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
