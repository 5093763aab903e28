"""Where sampled requests wait to be scored by a shadow: one small queue and one thread for each worker.

Serving comes first. A request is dropped, and counted, when others wait to be served as it comes, when this queue is
full, and when serving leaves no time for it. The work is done in short steps, each only while nothing is being served
and the event loop is punctual, so that a request which comes meanwhile is held up by one step at most.

The thread has the niceness of the others: a nicer one could be kept from the processor while it holds Python's lock,
and everything would wait for it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from app.serving.fidelity import Fidelity
from app.serving.shadow_metrics import Labels, ShadowMetrics

MAX_WAITING = 16
"""Requests that wait at most."""
MAX_WAITING_ROWS = 20_000
"""Candidates that they have together at most, unless it is one request alone."""
PATIENCE_SECONDS = 0.25
"""How long a step waits until serving has nothing to do."""
_PAUSE_SECONDS = 0.002
_LATE_SECONDS = 0.005
_LOG = logging.getLogger(__name__)


class Skipped(Exception):
    """There is nothing to compare, for the reason that is counted."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Steps(Protocol):
    """Work that is done in steps, the last of which gives a result."""

    labels: Labels
    rows: int

    def steps(self) -> Iterator[Fidelity | None]:
        """Do one step for each value that is asked for. Raises Skipped."""


@dataclass(frozen=True)
class Traffic:
    """What serving does now: whether requests wait, and whether it does nothing at all."""

    waiting: Callable[[], bool]
    idle: Callable[[], bool]


class ShadowQueue:
    """First in, first out. While nothing waits it has no task."""

    def __init__(self, traffic: Traffic, metrics: ShadowMetrics) -> None:
        self._traffic = traffic
        self._metrics = metrics
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shadow")
        self._queue: deque[Steps] = deque()
        self._rows = 0
        self._worker: asyncio.Task[None] | None = None
        self._told: set[tuple[Labels, str]] = set()

    def put(self, one: Steps) -> None:
        """Let it wait for its turn, or drop it."""
        if self._traffic.waiting():
            self.skip(one.labels, "busy")
            return
        full = len(self._queue) >= MAX_WAITING or self._rows + one.rows > MAX_WAITING_ROWS
        if full and self._queue:
            self.skip(one.labels, "full")
            return
        self._queue.append(one)
        self._rows += one.rows
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    def skip(self, labels: Labels, outcome: str) -> None:
        """Count a sampled request that is not compared."""
        self._metrics.ended(labels, outcome)

    async def stop(self) -> None:
        """End after the step that is under way; what waits is forgotten."""
        self._queue.clear()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        try:
            while self._queue:
                one = self._queue.popleft()
                self._rows -= one.rows
                self._metrics.ended(one.labels, await self._outcome(one))
        finally:
            self._worker = None

    async def _outcome(self, one: Steps) -> str:
        """Do all steps of one; how it ended."""
        loop = asyncio.get_running_loop()
        steps = one.steps()
        try:
            while await self._is_idle_soon():
                found = await loop.run_in_executor(self._executor, next, steps)
                if found is not None:
                    self._metrics.compared(one.labels, found)
                    return "compared"
        except Skipped as skipped:
            return skipped.outcome
        except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own; serving goes on
            self._tell(one.labels, error)
            return "failed"
        return "busy"

    async def _is_idle_soon(self) -> bool:
        """Wait for a moment at which nothing is served and the event loop is punctual; False when none comes."""
        begun = time.perf_counter()
        while (before := time.perf_counter()) < begun + PATIENCE_SECONDS:
            await asyncio.sleep(_PAUSE_SECONDS)
            punctual = time.perf_counter() - before < _PAUSE_SECONDS + _LATE_SECONDS
            if punctual and self._traffic.idle():
                return True
        return False

    def _tell(self, labels: Labels, error: Exception) -> None:
        """Say in the log what failed: each kind of failure once, for every request may fail alike."""
        kind = (labels, type(error).__name__)
        if kind not in self._told:
            self._told.add(kind)
            model, _, against = labels
            reason = next(iter(str(error).splitlines()), kind[1])
            _LOG.error("%s: the shadow %s cannot score: %s", model, against, reason)
