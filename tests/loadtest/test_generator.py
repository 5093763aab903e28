"""The load generator against servers whose behaviour is known."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from loadtest.generate import Generator, Plan, poisson
from loadtest.samples import OK, Samples

REQUEST = b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"

Behaviour = Callable[[int, asyncio.Transport], None]


def answers(number: int, transport: asyncio.Transport) -> None:
    transport.write(ANSWER)


class Served(asyncio.Protocol):
    """Does `behave` for each request, numbered from 0 in the order of their arrival."""

    def __init__(self, behave: Behaviour, numbers: Iterator[int], transports: set[asyncio.Transport]) -> None:
        self.behave, self.numbers, self.transports = behave, numbers, transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.transports.add(transport)

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self.behave(next(self.numbers), self.transport)


@contextlib.asynccontextmanager
async def server(behave: Behaviour) -> AsyncIterator[int]:
    """A server on a free port; gives the port."""
    numbers, transports = itertools.count(), set[asyncio.Transport]()
    loop = asyncio.get_running_loop()
    one = await loop.create_server(lambda: Served(behave, numbers, transports), "127.0.0.1", 0)
    try:
        yield one.sockets[0].getsockname()[1]
    finally:
        one.close()
        for _ in range(10):  # what was accepted last has its transport some turns of the loop later
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0)


async def send(behave: Behaviour, plan: Plan) -> Samples:
    async with server(behave) as port:
        return await Generator("127.0.0.1", port, [REQUEST], plan).run()


def open_plan(at_seconds: np.ndarray, patience_seconds: float = 60.0) -> Plan:
    return Plan(np.zeros(len(at_seconds), dtype=np.int64), at_seconds, 2, 0.0, patience_seconds)


def test_every_request_of_an_open_loop_is_sent_and_answered() -> None:
    samples = asyncio.run(send(answers, open_plan(np.linspace(0, 0.5, 100))))
    assert samples.summary().outcomes == {OK: 100}
    assert samples.bodies == [b"ok"] * 100


def test_connections_are_proven_before_the_first_request_and_that_does_not_count() -> None:
    seen: list[int] = []

    def notes(number: int, transport: asyncio.Transport) -> None:
        seen.append(number)
        if number == 1:  # one of the two connections ends with its first request
            transport.abort()
        else:
            transport.write(ANSWER)

    plan = replace(open_plan(np.linspace(0, 0.1, 20)), proven=True)
    samples = asyncio.run(send(notes, plan))
    assert samples.summary().outcomes == {OK: 20}
    assert len(seen) == 2 + 20


def test_a_stall_counts_for_every_request_that_came_due_in_it() -> None:
    """The client does not wait politely: what was meant to be sent while the server stood still is late."""
    stall = [0.0, 0.0]

    def stalls(number: int, transport: asyncio.Transport) -> None:
        if number == 20:
            # The whole loop stands still, the generator's own included: it must still count from the plan.
            stall[0] = time.perf_counter()
            time.sleep(0.3)
            stall[1] = time.perf_counter()
        transport.write(ANSWER)

    at_seconds = np.linspace(0, 1, 200)
    for _ in range(20):
        samples = asyncio.run(send(stalls, open_plan(at_seconds)))
        # Those that came due in it were answered no sooner than its end.
        due = samples.started + at_seconds
        within = (due > stall[0]) & (due < stall[1])
        assert (samples.latencies_ms()[within] >= (stall[1] - due[within]) * 1000).all()
        if within.sum() >= 55:
            return
    pytest.fail("each time the machine stood still until the plan was nearly over")


def test_the_shortest_loads_have_a_request_all_the_same() -> None:
    assert len(poisson(((0.0, 1.0),), seed=1)) == 1
    samples = asyncio.run(send(answers, Plan(np.zeros(10, dtype=np.int64), None, 2, 0.0)))
    assert samples.summary().outcomes == {OK: 2}


def test_refusals_lost_connections_and_silence_are_told_apart() -> None:
    def misbehaves(number: int, transport: asyncio.Transport) -> None:
        if number == 3:
            transport.write(REFUSAL)
        elif number == 5:
            transport.close()
        elif number != 7:
            transport.write(ANSWER)

    samples = asyncio.run(send(misbehaves, open_plan(np.linspace(0, 0.5, 20), patience_seconds=2.0)))
    assert samples.summary().outcomes == {OK: 17, "429": 1, "connection lost": 1, "timeout": 1}


def test_connections_that_are_still_being_opened_at_the_end_are_waited_for() -> None:
    class Slow(Generator):
        """What it opens besides the first connections takes a while."""

        async def _open(self) -> None:
            if self._next or len(self._all) == 2:
                await asyncio.sleep(0.3)
            await super()._open()

    async def run() -> Samples:
        async with server(answers) as port:
            samples = await Slow("127.0.0.1", port, [REQUEST], open_plan(np.zeros(20))).run()
            left = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
            assert not [name for name in left if "Generator" in name or "Slow" in name]
        return samples

    assert asyncio.run(run()).summary().outcomes == {OK: 20}


def test_nobody_listening_is_a_failure_of_each_request() -> None:
    async def run(port: int) -> Samples:
        return await Generator("127.0.0.1", port, [REQUEST], open_plan(np.zeros(3))).run()

    with socket.socket() as nobodys:
        nobodys.bind(("127.0.0.1", 0))  # nor can anybody else come to listen on it
        with pytest.raises(OSError, match=r"refused|Connect"):
            asyncio.run(run(nobodys.getsockname()[1]))


def test_a_closed_loop_ends_in_time_and_keeps_its_connections_busy() -> None:
    most = now = 0

    def counts(number: int, transport: asyncio.Transport) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)

        def later() -> None:
            nonlocal now
            now -= 1
            transport.write(ANSWER)

        asyncio.get_running_loop().call_later(0.005, later)

    samples = asyncio.run(send(counts, Plan(np.zeros(10_000, dtype=np.int64), None, 4, 0.4)))
    summary = samples.summary()
    assert most == 4
    assert summary.outcomes.keys() == {OK}
    assert summary.requests < 10_000


def test_a_closed_loop_goes_on_when_the_server_closes_each_connection() -> None:
    def closes(number: int, transport: asyncio.Transport) -> None:
        transport.write(ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        transport.close()

    samples = asyncio.run(send(closes, Plan(np.zeros(30, dtype=np.int64), None, 2, 60.0)))
    assert samples.summary().outcomes == {OK: 30}


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    times = poisson(((1000.0, 20.0),), seed=1)
    gaps = np.diff(times)
    assert abs(len(times) / 20_000 - 1) < 0.03
    assert abs(gaps.std() / gaps.mean() - 1) < 0.05
    assert np.array_equal(times, poisson(((1000.0, 20.0),), seed=1))


def test_the_rate_of_arrivals_follows_the_steps() -> None:
    times = poisson(((100.0, 5.0), (1000.0, 5.0)), seed=1)
    assert 400 < (times < 5).sum() < 600
    assert 4700 < (times >= 5).sum() < 5300


def test_a_percentile_needs_enough_samples() -> None:
    samples = Samples(500)
    samples.begin(0.0)
    for number in range(500):
        samples.intend(number, 0.0)
        samples.answer(number, 0.001 * (number + 1), 200, b"")
    samples.end(1.0)
    assert samples.summary().latency_ms.keys() == {"p50", "p95", "max"}
