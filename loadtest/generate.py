"""The load generator: requests at given moments, however slow the server is (open loop), or one after another on n
connections (closed loop).

In the open loop arrivals are a Poisson process: the gaps are exponential, drawn by seed before the first request is
sent. Latency counts from the moment when a request was meant to be sent. A server that stalls for a second therefore
has every request of that second counted as late, and cannot hide behind a client that politely waits ("coordinated
omission").
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.connection import Connection
from loadtest.samples import Samples

_TIMER_SECONDS = 0.001
_AT_ONCE = 16
_POLL_SECONDS = 0.005
_OPENING_SECONDS = 10.0
MAX_CONNECTIONS = 512
"""More requests than this cannot be under way at once; the rest wait, and their latency counts the wait."""


@dataclass(frozen=True)
class Plan:
    """What is sent: which of the prepared requests, and when (seconds from the start; None: closed loop)."""

    order: np.ndarray
    """int64 [requests]: indices of the prepared requests."""
    at_seconds: np.ndarray | None
    """float64 [requests], ascending."""
    connections: int
    seconds: float
    """The closed loop ends after this time; the open one after its last arrival and `patience_seconds`."""
    patience_seconds: float = 10.0
    exact: bool = True
    """Whether the generator is awake in the last millisecond or two before each request of the open loop. Without it
    moments are a millisecond off, and the core is free in between: where the server runs on it as well."""
    proven: bool = False
    """Whether each connection has had an answer, which does not count, before the first request: its end in the kernel
    is there before the server knows of it."""


def poisson(rates: Sequence[tuple[float, float]], seed: int) -> np.ndarray:
    """Arrival times of a Poisson process whose rate is piecewise constant: (requests per second, seconds) each.

    One at least: of a load without a request nothing can be said.
    """
    rng = np.random.default_rng(seed)
    parts, start = [], 0.0
    for rate, seconds in rates:
        count = rng.poisson(rate * seconds)
        # Given their number, the arrivals of a Poisson process are uniform in time.
        parts.append(start + np.sort(rng.random(count)) * seconds)
        start += seconds
    times = np.concatenate(parts) if parts else np.zeros(0)
    return times if len(times) else np.zeros(1)


async def _until(moment: float, *, exact: bool) -> None:
    """Timers are exact to a millisecond: the last ones are spent in turns of the loop, which read what comes back."""
    pause = moment - time.perf_counter()
    if not exact:
        if pause > _TIMER_SECONDS / 2:
            await asyncio.sleep(pause)
        return
    if pause > 2 * _TIMER_SECONDS:
        await asyncio.sleep(pause - _TIMER_SECONDS)
    while time.perf_counter() < moment:  # noqa: ASYNC110  (no event is that exact)
        await asyncio.sleep(0)


class Generator:
    """Sends a plan to one address, and keeps what came back."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes], plan: Plan) -> None:
        self._address = (host, port)
        self._requests = requests
        self._plan = plan
        self.samples = Samples(len(plan.order))
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._all: set[Connection] = set()
        self._waiting: deque[int] = deque()
        self._under_way: dict[Connection, int] = {}
        self._unproven: set[Connection] = set()
        self._next = 0
        self._ended = asyncio.Event()
        self._stop_at = float("inf")

    async def run(self) -> Samples:
        """Send everything; gives the samples."""
        await asyncio.gather(*(self._open() for _ in range(self._plan.connections)))
        if self._plan.proven:
            await self._prove()
        self.samples.begin(time.perf_counter())
        if self._plan.at_seconds is None:
            await self._closed_loop()
        else:
            await self._open_loop(self._plan.at_seconds)
        self.samples.end(time.perf_counter())
        await self._close()
        return self.samples

    async def _close(self) -> None:
        """End all connections, those that are being opened too: a loop cannot close over one that is half open."""
        if self._opening:
            await asyncio.wait(self._opening, timeout=_OPENING_SECONDS)
        for one in list(self._all):
            one.close()
        await asyncio.sleep(0)

    async def _prove(self) -> None:
        self._unproven, self._idle = set(self._idle), []
        for one in list(self._unproven):
            one.send(self._requests[self._plan.order[0]])
        with suppress(TimeoutError):
            async with asyncio.timeout(self._plan.patience_seconds):
                while self._unproven:  # noqa: ASYNC110  (no event on the hot path)
                    await asyncio.sleep(0.001)
        while len(self._idle) < self._plan.connections:  # the server has ended some
            await self._open()

    async def _closed_loop(self) -> None:
        # Each connection sends once, though this process was stopped meanwhile for longer than the plan is.
        for one in list(self._idle):
            self._send_next(one)
        self._stop_at = self.samples.started + self._plan.seconds
        try:
            await asyncio.wait_for(self._ended.wait(), self._plan.seconds + self._plan.patience_seconds)
        except TimeoutError:
            self._give_up()

    def _send_next(self, connection: Connection) -> None:
        if self._next >= len(self._plan.order) or time.perf_counter() >= self._stop_at:
            if not self._under_way:
                self._ended.set()
            return
        number = self._next
        self._next += 1
        self.samples.intend(number, time.perf_counter())
        self._send(connection, number)

    async def _open_loop(self, at_seconds: np.ndarray) -> None:
        times = (self.samples.started + at_seconds).tolist()
        at_once = 0
        for number, moment in enumerate(times):
            if moment > time.perf_counter():
                await _until(moment, exact=self._plan.exact)
                at_once = 0
            elif at_once == _AT_ONCE:
                # It is behind: what comes back is read all the same, and its time noted.
                await asyncio.sleep(0)
                at_once = 0
            at_once += 1
            self.samples.intend(number, moment)
            self._dispatch(number)
        deadline = time.perf_counter() + self._plan.patience_seconds
        # A short poll, so that the hot path has no event to set for each answer.
        while (self._under_way or self._waiting) and time.perf_counter() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        if self._under_way:
            # What came while this process was stopped, past the deadline perhaps, has not been read.
            await asyncio.sleep(_POLL_SECONDS)
        self._give_up()

    def _dispatch(self, number: int) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                self._send(connection, number)
                return
        self._waiting.append(number)
        if len(self._all) + len(self._opening) < MAX_CONNECTIONS:
            self._in_background(self._open_more())

    def _in_background(self, opening: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(opening)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_more(self) -> None:
        try:
            await self._open()
        except OSError:
            if self._waiting:
                self.samples.fail(self._waiting.popleft(), time.perf_counter(), "refused")
        self._use_idle()

    def _use_idle(self) -> None:
        while self._idle and self._waiting:
            connection = self._idle.pop()
            if connection.open:
                self._send(connection, self._waiting.popleft())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._on_done, self._on_lost), *self._address
        )
        self._all.add(connection)
        self._idle.append(connection)

    def _send(self, connection: Connection, number: int) -> None:
        self._under_way[connection] = number
        self.samples.send(number, time.perf_counter())
        connection.send(self._requests[self._plan.order[number]])

    def _on_done(self, connection: Connection, status: int, body: bytes, moment: float) -> None:
        if connection in self._unproven:
            self._unproven.discard(connection)
            if connection.open:
                self._idle.append(connection)
            return
        number = self._under_way.pop(connection)
        self.samples.answer(number, moment, status, body)
        if self._plan.at_seconds is None:
            if connection.open:
                self._send_next(connection)
            else:
                self._in_background(self._reopen())
        elif connection.open:
            if self._waiting:
                self._send(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)

    async def _reopen(self) -> None:
        """A closed loop keeps its number of connections, as long as the server takes them."""
        try:
            await self._open()
        except OSError:
            if not self._under_way:
                self._ended.set()
            return
        self._send_next(self._idle.pop())

    def _on_lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _give_up(self) -> None:
        """What has no answer by now is counted as timed out."""
        now = time.perf_counter()
        for number in [*self._under_way.values(), *self._waiting]:
            self.samples.fail(number, now, "timeout")
        self._under_way.clear()
        self._waiting.clear()
