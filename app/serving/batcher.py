"""One queue before one session: first in, first out; what waits while a run is under way makes the next run.

A request is refused when the queue is full and dropped when its deadline passes before its run begins. Every future
is resolved or failed, whatever the session does: a run of several requests that fails is run again one by one, so that
only the request that breaks it fails.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from app.encoding import Array
from app.errors import DeadlineExceeded, NotReady, Overloaded
from app.serving.query import Features
from app.serving.session import Session

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores float32 [rows], and seconds spent waiting and running."""

    scores: Array
    queue_seconds: float
    infer_seconds: float


@dataclass(slots=True, eq=False)
class _Waiting:
    features: Features
    deadline: float
    since: float
    future: "asyncio.Future[Scored]"


QUICK_SECONDS = 0.001
"""Runs that are expected to take no longer are done on the event loop itself."""


class Costs:
    """What runs of a session took, by the power of two that their rows reach; recent runs weigh more."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def seconds(self, rows: int) -> float:
        """What a run of so many rows should take; infinity before one was measured."""
        return self._seconds.get(rows.bit_length(), float("inf"))

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a run."""
        size = rows.bit_length()
        before = self._seconds.get(size, seconds)
        self._seconds[size] = 0.8 * before + 0.2 * seconds


class Batcher:
    """The queue of one session. While nothing waits it has no task, so dropping the last reference ends it."""

    def __init__(
        self,
        session: Session,
        request_features: frozenset[str],
        executor: Executor,
        *,
        max_queue: int,
        max_batch_rows: int,
    ) -> None:
        self._session = session
        self._request_features = request_features
        self._executor = executor
        self._max_queue = max_queue
        self._max_batch_rows = max_batch_rows
        self._queue: deque[_Waiting] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._costs = Costs()

    @property
    def depth(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return self._runner is None

    async def score(self, features: Features, deadline: float) -> Scored:
        """Scores of one request. Raises Overloaded, DeadlineExceeded, and what the session raises."""
        if len(self._queue) >= self._max_queue:
            raise Overloaded(
                f"{self._max_queue} requests are waiting already; try again later", retry_after_seconds=1
            )
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(features, deadline, time.perf_counter(), future)
        self._queue.append(waiting)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run_queue())
        try:
            return await future
        except asyncio.CancelledError:  # the client went away: its place is free again
            with suppress(ValueError):
                self._queue.remove(waiting)
            raise

    async def _run_queue(self) -> None:
        loop = asyncio.get_running_loop()
        batch: list[_Waiting] = []
        try:
            while batch := self._take():
                rows = sum(one.features.rows for one in batch)
                started = time.perf_counter()
                if self._costs.seconds(rows) <= QUICK_SECONDS:
                    # To hand a run to a thread and wake up again takes longer than this run itself.
                    outcomes = self._run_batch(batch)
                else:
                    outcomes = await loop.run_in_executor(self._executor, self._run_batch, batch)
                seconds = time.perf_counter() - started
                self._costs.note(rows, seconds)
                for one, outcome in zip(batch, outcomes, strict=True):
                    if isinstance(outcome, Exception):
                        _fail(one, outcome)
                    elif not one.future.done():
                        one.future.set_result(Scored(outcome, started - one.since, seconds))
                # Others get their turn: sockets are read, answers are sent, and what came in joins the next run.
                await asyncio.sleep(0)
        except RuntimeError as error:
            # The executor is shut. What waits is told so below; nobody asks this task how it ended.
            _LOG.warning("no more runs: %s", error)
        finally:
            self._runner = None
            # Nothing is left here unless this task was cancelled or the executor was shut: the service ends.
            for one in (*batch, *self._queue):
                _fail(one, NotReady("the service is ending"))
            self._queue.clear()

    def _take(self) -> list[_Waiting]:
        """The next requests, in order, while their rows fit together; late ones are failed instead."""
        batch: list[_Waiting] = []
        rows, now = 0, time.perf_counter()
        while self._queue:
            first = self._queue[0]
            if batch and rows + first.features.rows > self._max_batch_rows:
                break
            self._queue.popleft()
            if first.future.done():
                continue
            if now >= first.deadline:
                late = f"the deadline passed after {(now - first.since) * 1e3:.0f} ms in the queue"
                _fail(first, DeadlineExceeded(f"{late}; nothing was computed"))
                continue
            batch.append(first)
            rows += first.features.rows
        return batch

    def _run_batch(self, batch: Sequence[_Waiting]) -> list[Array | Exception]:
        """Scores for each request, or why there are none."""
        try:
            return list(self._run([one.features for one in batch]))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer of somebody's request
            if len(batch) == 1:
                return [error]
        return [outcome for one in batch for outcome in self._run_batch([one])]

    def _run(self, batch: Sequence[Features]) -> list[Array]:
        if len(batch) == 1 and batch[0].rows <= self._max_batch_rows:  # the usual case, without copies
            return [self._session.run(batch[0].inputs, np.zeros(batch[0].rows, dtype=np.int64))]
        counts = [one.rows for one in batch]
        row_request = np.repeat(np.arange(len(batch), dtype=np.int64), counts)
        inputs = _joined(batch) if len(batch) > 1 else batch[0].inputs
        total = len(row_request)
        parts = [
            self._session.run(
                self._rows(inputs, start, total), row_request[start : start + self._max_batch_rows]
            )
            for start in range(0, total, self._max_batch_rows)
        ]
        scores = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.split(scores, np.cumsum(counts)[:-1])

    def _rows(self, inputs: Mapping[str, Array], start: int, total: int) -> Mapping[str, Array]:
        """A slice of the rows, with all request features; one run takes at most `max_batch_rows`."""
        if total <= self._max_batch_rows:
            return inputs
        some = slice(start, start + self._max_batch_rows)
        return {n: values if n in self._request_features else values[some] for n, values in inputs.items()}


def _fail(one: _Waiting, error: Exception) -> None:
    if not one.future.done():
        one.future.set_exception(error)


def _joined(batch: Sequence[Features]) -> dict[str, Array]:
    return {name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs}
