"""The queue of a worker, before all of its sessions: first in, first out, in turns of bounded length.

A turn takes the request that has waited longest. Others for the same graph join its run while that makes the run
cheaper for each row; a request of many rows is cut, and has a line of its own (see lines.py), so that it does not hold
up the small ones. Work that is late, or whose client has left, is dropped before it is computed.

Every request is told how it ended exactly once, whatever the session does: a run of several requests that fails is run
again one by one, so that only the request that breaks it fails.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

import numpy as np

from app.encoding import Array
from app.errors import NotReady
from app.serving.lane import Lane, Part
from app.serving.lines import Lines
from app.serving.waiting import ClientGone, Scored, Waiting

_LOG = logging.getLogger(__name__)

_LAG_STEP = 0.1


class Batcher:
    """The queue. While nothing waits it does nothing.

    Runs that should take at most `inline_seconds` are done on the event loop, others in the executor's thread.
    """

    def __init__(self, executor: Executor, inline_seconds: float = 0.0) -> None:
        self._executor = executor
        self._inline_seconds = inline_seconds
        self._queue = Lines()
        self._running: list[Waiting] = []
        self._busy = False
        self._closed = False
        self._busy_until = 0.0
        self._left_seconds = 0.0
        """What the request whose turn it is takes after that turn."""
        self._left_at = 0.0
        self._held_seconds = 0.0
        self.inline_seconds = 0.0
        """What all runs on the event loop have taken."""
        self.lag_seconds = 0.0
        """How long what comes now may have waited to be read: a turn of the event loop while there is work, else 0."""

    @property
    def depth(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._busy

    def wait_seconds(self, lane: Lane, rows: int) -> float:
        """How long a request of so many rows would wait before the last of its turns, if it came now."""
        turn = max(0.0, self._busy_until - time.perf_counter())
        return turn + self._queue.wait_seconds(lane, rows, self._left_seconds)

    def queue_seconds(self) -> float:
        """What all that waits or runs still takes."""
        turn = max(0.0, self._busy_until - time.perf_counter())
        return turn + self._left_seconds + self._queue.seconds

    def submit(self, one: Waiting) -> None:
        """Put a request at the end of the queue."""
        if self._closed:
            one.tell(NotReady("the service is ending"))
            return
        self._queue.append(one)
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._turn)

    def forget_gone(self) -> None:
        """Give the places of clients that have left to others."""
        for one in self._queue.remove(lambda one: one.gone()):
            one.tell(ClientGone())

    def close(self) -> None:
        """Tell whoever still waits that the service ends; nothing is taken any more."""
        self._closed = True
        waiting = [*self._queue.clear(), *self._running]
        self._running = []
        for one in waiting:
            one.tell(NotReady("the service is ending"))

    def _turn(self) -> None:
        """One run: here if it is quick, else in the thread."""
        self._note_lag()
        taken = self._take()
        if not taken:
            self._busy = False
            self._left_at = self.lag_seconds = 0.0
            return
        lane = taken[0].lane
        # A request that has others with it is whole; one alone may be cut.
        within = lane.turn_rows()
        parts = [(one.features, one.next_row, one.next_row + min(one.rows_left, within)) for one in taken]
        rows = sum(stop - start for _, start, stop in parts)
        expected = lane.cost.seconds(rows)
        left = taken[0].rows_left - within
        self._left_seconds = lane.cost.seconds(left) if left > 0 else 0.0
        started = time.perf_counter()
        self._busy_until = started + expected
        self._running = taken
        if expected <= self._inline_seconds:
            outcomes = _run(lane, parts)
            self._held_seconds = time.perf_counter() - started
            self.inline_seconds += self._held_seconds
            self._ended(taken, outcomes, self._held_seconds)
            return
        self._held_seconds = 0.0
        loop = asyncio.get_running_loop()
        try:
            future = self._executor.submit(_timed_run, lane, parts)
        except RuntimeError:  # the executor is shut: the service ends
            self.close()
            return
        future.add_done_callback(lambda found: _call(loop, self._ran, taken, found))

    def _take(self) -> list[Waiting]:
        """The next request that is worth a run, and those that gain by sharing it."""
        queue, now = self._queue, time.perf_counter()
        while queue:
            first = queue.take()
            # While others wait, what would be late is not begun.
            if first.is_worth_it(now, first.seconds if queue else 0.0):
                break
        else:
            return []
        room = first.lane.run_rows - first.rows_left
        if room <= 0 or not queue:
            return [first]
        return [first, *self._joining(first, room, now)]

    def _joining(self, first: Waiting, room: int, now: float) -> list[Waiting]:
        """Whole requests for the same graph whose rows fit, in order; none makes the run too late for another."""
        cost, rows, earliest = first.lane.cost, first.rows_left, first.deadline

        def fits(one: Waiting) -> bool:
            if one.rows_left > room:
                return False
            return now + cost.seconds(rows + one.rows_left) <= min(earliest, one.deadline)

        joined: list[Waiting] = []
        for one in self._queue.take_others(first.lane, fits):
            earliest = min(earliest, one.deadline)
            if one.is_worth_it(now):
                joined.append(one)
                room -= one.rows_left
                rows += one.rows_left
        return joined

    def _ran(self, taken: list[Waiting], found: "Future[tuple[list[Array | Exception], float]]") -> None:
        if found.cancelled():
            outcomes: list[Array | Exception] = [NotReady("the service is ending") for _ in taken]
            self._ended(taken, outcomes, 0.0)
            return
        self._ended(taken, *found.result())

    def _ended(self, taken: list[Waiting], outcomes: Sequence[Array | Exception], seconds: float) -> None:
        """Tell everybody how it went, and let the next turn follow after what else the loop has to do."""
        told = self._running is not taken  # the service ended meanwhile
        self._running = []
        self._left_seconds = 0.0
        try:
            _learn(taken[0].lane, outcomes, seconds)
            for one, outcome in zip(taken, outcomes, strict=True):
                one.infer_seconds += seconds
                if not told:
                    self._settle(one, outcome)
        finally:
            self._left_at = time.perf_counter()
            asyncio.get_running_loop().call_soon(self._turn)

    def _note_lag(self) -> None:
        """The loop read what had come between the end of the last turn and this one, and nothing during a run here."""
        if self._left_at:
            lag = self._held_seconds + time.perf_counter() - self._left_at
            self.lag_seconds += _LAG_STEP * (lag - self.lag_seconds)

    def _settle(self, one: Waiting, outcome: Array | Exception) -> None:
        """Tell one request how it went, or put it at the end of the queue while rows of it are left."""
        if isinstance(outcome, Exception):
            one.tell(outcome)
            return
        one.next_row += len(outcome)
        one.pieces.append(outcome)
        if one.rows_left:
            one.seconds = one.lane.cost.seconds(one.rows_left)
            self._queue.append(one)
            return
        scores = one.pieces[0] if len(one.pieces) == 1 else np.concatenate(one.pieces)
        waited = time.perf_counter() - one.since - one.infer_seconds
        one.tell(Scored(scores, waited, one.infer_seconds))


def _learn(lane: Lane, outcomes: Sequence[Array | Exception], seconds: float) -> None:
    """What a whole run cost; one that failed, or was repeated in parts, tells nothing."""
    lane.last_run = time.perf_counter()
    scored = [len(outcome) for outcome in outcomes if not isinstance(outcome, Exception)]
    rows = sum(scored)
    if rows and len(scored) == len(outcomes):
        lane.cost.note(rows, seconds)


def _call(loop: asyncio.AbstractEventLoop, work: Callable[..., None], *arguments: object) -> None:
    """Let the loop do something, from a thread; a loop that has closed has nobody left to tell."""
    try:
        loop.call_soon_threadsafe(work, *arguments)
    except RuntimeError:
        _LOG.warning("a run ended after the service")


def _timed_run(lane: Lane, parts: Sequence[Part]) -> tuple[list[Array | Exception], float]:
    started = time.perf_counter()
    outcomes = _run(lane, parts)
    return outcomes, time.perf_counter() - started


def _run(lane: Lane, parts: Sequence[Part]) -> list[Array | Exception]:
    """Scores for each part, or why there are none."""
    try:
        return list(lane.run(parts))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer of somebody's request
        if len(parts) == 1:
            return [error]
    return [outcome for part in parts for outcome in _run(lane, [part])]
