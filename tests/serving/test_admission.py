"""Who is let into the queue, by what is predicted and by what was learned."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from app.errors import DeadlineExceeded, Overloaded
from app.serving import admission
from app.serving.admission import Admission
from app.serving.batcher import Batcher
from app.serving.costs import RunCost
from app.serving.lane import Lane
from app.serving.query import Features

from tests.clocks import Clock, stand_still
from tests.processes import WAIT_SECONDS
from tests.serving.asking import scored
from tests.serving.held import Adding, HeldSession


class Scene:
    """A worker whose runs take a minute and 6 s for each row, as far as it knows; none really does."""

    def __init__(self, executor: ThreadPoolExecutor, max_queue: int = 100) -> None:
        self.lane = Lane(
            Adding(), frozenset({"base"}), RunCost([(1, 66.0), (100, 660.0), (1000, 6060.0)]), 10
        )
        self.lane.last_run = math.inf  # it is not tried again for having rested
        self.batcher = Batcher(executor)
        self.admission = Admission(self.batcher, max_queue)

    def send(self) -> asyncio.Task[object]:
        inputs = {"base": np.zeros(1, np.float32), "value": np.zeros(1, np.float32)}
        return asyncio.create_task(scored(self.batcher, self.lane, Features(inputs, 1), math.inf))

    def check(self, rows: int, seconds: float) -> None:
        self.admission.check(self.lane, rows, time.perf_counter() + seconds)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as one:
        yield one


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scene(), WAIT_SECONDS)

    asyncio.run(bounded())


def test_what_can_be_answered_in_time_is_let_in_and_what_cannot_is_refused_at_once(
    executor: ThreadPoolExecutor,
) -> None:
    scene = Scene(executor)
    scene.check(1, 300.0)
    assert scene.admission.meets(scene.lane, 1, time.perf_counter() + 300.0)
    with pytest.raises(
        DeadlineExceeded,
        match=r"^the answer would take about 6\.06e\+06 ms, and .+ ms are left; ask for fewer candidates",
    ):
        scene.check(1000, 600.0)
    assert not scene.admission.meets(scene.lane, 1000, time.perf_counter() + 600.0)
    with pytest.raises(DeadlineExceeded, match="the deadline passed before"):
        scene.check(1, -0.1)


def test_what_would_be_in_time_but_for_the_queue_is_overload(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        one = Scene(executor)
        waiting = [one.send() for _ in range(5)]
        await asyncio.sleep(0)
        one.check(1, 1200.0)
        with pytest.raises(Overloaded, match="try again later"):
            one.check(1, 180.0)
        await asyncio.gather(*waiting)

    play(scene)


def test_a_full_queue_refuses_whatever_the_deadline(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        one = Scene(executor, max_queue=2)
        waiting = [one.send(), one.send()]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 requests are waiting already"):
            one.check(1, math.inf)
        waiting[0].cancel()
        await asyncio.sleep(0)
        one.check(1, math.inf)
        await asyncio.gather(*waiting, return_exceptions=True)

    play(scene)


def test_who_has_left_makes_nobody_late(executor: ThreadPoolExecutor) -> None:
    async def scene() -> None:
        one = Scene(executor)
        one.lane.scoring = held = HeldSession()
        waiting = [one.send() for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first run is under way
        for task in waiting:
            task.cancel()
        await asyncio.sleep(0)
        one.check(1, 600.0)
        held.go.set()
        await asyncio.gather(*waiting, return_exceptions=True)

    play(scene)


def test_one_pause_of_the_process_is_no_reason_to_refuse_what_comes_after_it(
    executor: ThreadPoolExecutor,
) -> None:
    one = Scene(executor).admission
    before = one.request_seconds
    one.note_work(60.0)
    assert one.request_seconds < 2 * before


def test_a_graph_that_has_rested_is_tried_again_whatever_is_predicted(executor: ThreadPoolExecutor) -> None:
    scene = Scene(executor)
    scene.lane.last_run = time.perf_counter() - 1
    scene.check(1000, 600.0)


def test_errors_of_a_storm_do_not_outlast_it(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a request takes less than is left, but for them, its graph need not rest for long to be tried."""
    one, clock = Scene(executor), stand_still(monkeypatch, admission)
    one.lane = Lane(Adding(), frozenset({"base"}), RunCost([(1, 0.02), (100, 0.02), (1000, 0.02)]), 10)
    for _ in range(200):
        one.admission.note(one.admission.seconds(one.lane, 1), 1.0)
    one.lane.last_run = clock.now
    with pytest.raises(Overloaded):
        one.admission.check(one.lane, 1, clock.now + 0.06)
    clock.now += 0.2
    one.admission.check(one.lane, 1, clock.now + 0.06)
    with pytest.raises(DeadlineExceeded):
        one.admission.check(one.lane, 1, clock.now + 0.01)


def test_predictions_that_were_too_low_are_corrected(executor: ThreadPoolExecutor) -> None:
    scene = Scene(executor)
    before = scene.admission.seconds(scene.lane, 100)
    for _ in range(200):
        scene.admission.note(scene.admission.seconds(scene.lane, 100), 3 * before)
    assert scene.admission.seconds(scene.lane, 100) == pytest.approx(3 * before, rel=0.05)
    for _ in range(200):
        scene.admission.note(scene.admission.seconds(scene.lane, 100), before)
    assert scene.admission.seconds(scene.lane, 100) == pytest.approx(before, rel=0.05)


def test_answers_that_were_late_widen_the_margin_and_those_in_time_narrow_it(
    executor: ThreadPoolExecutor,
) -> None:
    async def scene() -> None:
        one = Scene(executor)
        waiting = [one.send() for _ in range(50)]
        await asyncio.sleep(0)
        wait = one.batcher.wait_seconds(one.lane, 1)
        enough = time.perf_counter() + 2 * wait
        assert one.admission.meets(one.lane, 1, enough)
        for number in range(30):
            if number % 2:
                one.admission.note_end(time.perf_counter() - 1)
            else:
                one.admission.note_missed()
        assert not one.admission.meets(one.lane, 1, enough)
        for _ in range(30 * 200):
            one.admission.note_end(math.inf)
        assert one.admission.meets(one.lane, 1, time.perf_counter() + 2 * wait)
        await asyncio.gather(*waiting)

    play(scene)


def test_what_the_loop_does_for_answers_is_told_by_its_own_clock(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, thread = Admission(Batcher(executor), 100), Clock(1.0)
    monkeypatch.setattr(admission, "time", SimpleNamespace(thread_time=thread))

    def answers(seconds: float) -> None:
        for _ in range(64 * 40):
            thread.now += seconds
            one.note_answer()

    before = one.busy_seconds
    answers(0.0004)
    assert one.busy_seconds == pytest.approx(0.0004, rel=0.01)
    assert one.busy_seconds > before
    answers(0.00001)
    assert one.busy_seconds == pytest.approx(one.request_seconds, rel=0.01), (
        "which is known to belong to a request"
    )
