"""The queue of the shadow: serving comes first, whatever waits, and everything is counted."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest
from app.serving import shadow_queue
from app.serving.fidelity import Fidelity
from app.serving.shadow_metrics import Labels, ShadowMetrics
from app.serving.shadow_queue import ShadowQueue, Skipped, Traffic
from prometheus_client import CollectorRegistry

from tests.processes import WAIT_SECONDS
from tests.serving.store_changes import until

SAME = Fidelity(1.0, 1.0, 0.0, 0.0)
LABELS: Labels = ("films", "int8", "baseline")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, what waits has its turn."""
    monkeypatch.setattr(shadow_queue, "PATIENCE_SECONDS", 60.0)


class Work:
    """Some steps; each of them waits for `go`."""

    def __init__(self, steps: int = 3, rows: int = 10) -> None:
        self.labels = LABELS
        self.rows = rows
        self.done: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = 0
        self._steps = steps

    def steps(self) -> Iterator[Fidelity | None]:
        for number in range(1, self._steps + 1):
            self.begun = number
            assert self.go.wait(60)
            self.done.append(threading.current_thread().name)
            yield SAME if number == self._steps else None


class Broken(Work):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def steps(self) -> Iterator[Fidelity | None]:
        yield None
        raise self._error


class Bench:
    """A queue, and serving that does what the test says."""

    def __init__(self) -> None:
        self.waiting = False
        self.idle = True
        self.registry = CollectorRegistry()
        traffic = Traffic(lambda: self.waiting, lambda: self.idle)
        self.queue = ShadowQueue(traffic, ShadowMetrics(self.registry))

    def outcomes(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name == "slimrank_shadow_requests_total":
                    found[sample.labels["outcome"]] += int(sample.value)
        return found

    async def ended(self, **expected: int) -> None:
        await until(lambda: self.outcomes().total() >= sum(expected.values()))
        assert self.outcomes() == expected


def play(scene: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        bench = Bench()
        try:
            await scene(bench)
        finally:
            await bench.queue.stop()

    asyncio.run(asyncio.wait_for(whole(), WAIT_SECONDS))


def test_steps_are_done_in_order_in_one_thread_of_their_own() -> None:
    async def scene(bench: Bench) -> None:
        works = [Work(), Work(1), Work(5)]
        for one in works:
            bench.queue.put(one)
        await bench.ended(compared=3)
        assert [len(one.done) for one in works] == [3, 1, 5]
        (thread,) = {name for one in works for name in one.done}
        assert thread.startswith("shadow")
        await until(lambda: bench.queue._worker is None)
        bench.queue.put(Work())
        await bench.ended(compared=4)

    play(scene)


def test_what_comes_while_requests_wait_is_dropped_at_once() -> None:
    async def scene(bench: Bench) -> None:
        bench.waiting = True
        bench.queue.put(Work())
        assert bench.outcomes() == {"busy": 1}

    play(scene)


def test_nothing_is_done_while_something_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_queue, "PATIENCE_SECONDS", 0.05)

    async def scene(bench: Bench) -> None:
        bench.idle = False
        work = Work()
        bench.queue.put(work)
        await bench.ended(busy=1)
        assert work.done == []

    play(scene)


def test_serving_holds_up_what_has_begun_after_one_step() -> None:
    async def scene(bench: Bench) -> None:
        work = Work(steps=4)
        work.go.clear()
        bench.queue.put(work)
        await until(lambda: work.begun == 1)
        bench.idle = False  # a request comes while the first step is under way
        work.go.set()
        await until(lambda: len(work.done) == 1)
        await asyncio.sleep(0.05)
        assert work.begun == 1
        bench.idle = True
        await bench.ended(compared=1)
        assert len(work.done) == 4

    play(scene)


def test_a_full_queue_takes_no_more() -> None:
    async def scene(bench: Bench) -> None:
        bench.idle = False
        for _ in range(shadow_queue.MAX_WAITING + 5):
            bench.queue.put(Work(1))
        assert bench.outcomes() == {"full": 5}
        bench.idle = True
        await bench.ended(full=5, compared=shadow_queue.MAX_WAITING)
        bench.queue.put(Work(1))
        await bench.ended(full=5, compared=shadow_queue.MAX_WAITING + 1)

    play(scene)


def test_rows_that_wait_are_bounded_but_for_one_request_alone() -> None:
    async def scene(bench: Bench) -> None:
        for _ in range(2):
            bench.queue.put(Work(rows=shadow_queue.MAX_WAITING_ROWS + 1))
            bench.queue.put(Work(rows=1))
            assert bench.outcomes()["full"] > 0
            await until(lambda: bench.queue._worker is None)
        assert bench.outcomes() == {"full": 2, "compared": 2}
        for _ in range(3):
            bench.queue.put(Work(rows=1))
        await bench.ended(full=2, compared=5)

    play(scene)


def test_what_fails_or_has_nothing_to_compare_stops_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(bench: Bench) -> None:
        for error in (ValueError("no\nsecond line"), Skipped("encoding"), ValueError("again"), OSError("no")):
            bench.queue.put(Broken(error))
        bench.queue.put(Work())
        await bench.ended(failed=3, encoding=1, compared=1)

    play(scene)
    said = [record.getMessage() for record in caplog.records if record.name == shadow_queue.__name__]
    assert said == ["films: the shadow baseline cannot score: no"] * 2, "each kind of failure once"


def test_stopping_forgets_what_waits_and_ends_after_the_step_under_way() -> None:
    async def scene(bench: Bench) -> None:
        works = [Work(), Work()]
        works[0].go.clear()
        for one in works:
            bench.queue.put(one)
        await until(lambda: works[0].begun == 1)
        await bench.queue.stop()
        works[0].go.set()
        assert bench.outcomes() == {}
        assert works[1].done == []

    play(scene)
