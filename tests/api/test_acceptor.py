"""The acceptor on real sockets and a real event loop: errors, its end, and what it sets."""

import asyncio
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from itertools import pairwise

import pytest
import uvloop
from app.api.acceptor import Acceptor
from app.held_connections import HeldConnections, Place
from app.listener import open_listener

from tests.descriptors import no_more_descriptors
from tests.processes import WAIT_SECONDS
from tests.sockets import connected

GREETING = b"hello"


class Greeter(asyncio.Protocol):
    """Holds connections as uvicorn's protocols do, and says something."""

    def __init__(self, connections: set["Greeter"]) -> None:
        self.connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connections.add(self)
        transport.write(GREETING)  # type: ignore[attr-defined]  # uvloop's are of no class of asyncio

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self.connections.discard(self)


class Scene:
    """A listener, and an acceptor of it."""

    def __init__(self, listener: socket.socket, clients: ExitStack) -> None:
        self.listener = listener
        self.clients = clients
        self.connections: set[Greeter] = set()
        self.acceptors: list[Acceptor] = []

    def client(self) -> socket.socket:
        return self.clients.enter_context(connected(self.listener.getsockname()[1]))

    def acceptor(self, place: Place | None = None) -> Acceptor:
        one = Acceptor(self.listener, lambda: Greeter(self.connections), self.connections, place)
        self.acceptors.append(one)
        return one

    async def end(self) -> None:
        for one in self.acceptors:
            one.close()
            await one.wait_closed()
        await asyncio.sleep(0.01)  # what was written leaves: uvloop does not close over it
        for held in list(self.connections):
            held.transport.abort()  # type: ignore[attr-defined]
        await self.until(0)

    async def until(self, number: int) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.holds(number):  # noqa: ASYNC110  (an event would have to be in the code)
                await asyncio.sleep(0.001)

    def holds(self, number: int) -> bool:
        """Whether so many connections are there, and none is just beginning: for a turn or two it counts twice."""
        return len(self.connections) == number and not any(one._beginning for one in self.acceptors)


def play(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def run(scene: Scene) -> None:
        try:
            await act(scene)
        finally:
            await scene.end()

    with open_listener("127.0.0.1", 0) as listener, ExitStack() as clients:
        uvloop.run(run(Scene(listener, clients)))


async def received(client: socket.socket) -> bytes:
    return await asyncio.to_thread(client.recv, 100)  # the loop goes on meanwhile


def test_some_connections_are_taken_in_a_turn_of_the_loop_and_the_others_in_the_next() -> None:
    async def act(scene: Scene) -> None:
        for _ in range(40):
            scene.client()
        acceptor = scene.acceptor()
        counts = [0]
        while counts[-1] < 40:
            await asyncio.sleep(0)
            counts.append(len(scene.connections))
        assert max(after - before for before, after in pairwise(counts)) == 16
        acceptor.close()

    play(act)


def test_a_connection_does_not_wait_for_more_to_send() -> None:
    async def act(scene: Scene) -> None:
        acceptor = scene.acceptor()
        client = scene.client()
        await scene.until(1)
        (one,) = scene.connections
        accepted = one.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert await received(client) == GREETING
        acceptor.close()

    play(act)


def test_a_client_that_resets_before_it_is_accepted_does_no_harm() -> None:
    async def act(scene: Scene) -> None:
        for _ in range(5):
            gone = scene.client()
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.close()
        acceptor = scene.acceptor()
        client = scene.client()
        assert await received(client) == GREETING
        await scene.until(1)
        acceptor.close()

    play(act)


def two_places() -> tuple[Place, Place]:
    """Of two workers that live as long as this test does."""
    held, found = HeldConnections(), []
    for _ in range(2):
        place = held.free_place()
        assert place is not None
        place.take(os.getpid())
        found.append(place)
    return found[0], found[1]


def test_without_descriptors_it_waits_instead_of_spinning_and_then_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(scene: Scene) -> None:
        clients = [scene.client() for _ in range(3)]
        own, other = two_places()
        await asyncio.sleep(0)  # the loop has the descriptors that it needs itself
        with no_more_descriptors():
            began = time.monotonic()
            scene.acceptor(own)
            assert other.least_of_others() == 0
            for _ in range(200):
                await asyncio.sleep(0)
            assert "no connection can be accepted for 1 s" in caplog.text
            # Once a second, however long the machine took for those turns; a timer counts milliseconds.
            assert len(caplog.records) <= 1 + (time.monotonic() - began) / 0.99
            assert other.least_of_others() is None  # nobody waits for it meanwhile
        await scene.until(3)
        assert {await received(client) for client in clients} == {GREETING}
        assert other.least_of_others() == 3

    play(act)


def test_what_comes_after_a_stop_is_left_to_another_worker() -> None:
    async def act(scene: Scene) -> None:
        acceptor = scene.acceptor()
        scene.client()
        await scene.until(1)
        acceptor.stop()
        client = scene.client()
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(scene.connections) == 1
        acceptor.close()
        await acceptor.wait_closed()
        with scene.listener.dup() as other:
            next_one = Scene(other, scene.clients)
            next_one.acceptor()
            await next_one.until(1)
            assert await received(client) == GREETING
            await next_one.end()

    play(act)


def test_all_that_waits_is_accepted_and_has_begun_when_it_is_closed() -> None:
    async def act(scene: Scene) -> None:
        for _ in range(60):
            scene.client()
        acceptor = scene.acceptor()
        while not scene.connections:  # noqa: ASYNC110  (turn by turn)
            await asyncio.sleep(0)
        acceptor.close()
        await acceptor.wait_closed()
        assert len(scene.connections) == 60

    play(act)


def test_one_that_is_ahead_takes_what_nobody_else_does() -> None:
    async def act(scene: Scene) -> None:
        own, idle = two_places()
        idle.tell(0)
        acceptor = scene.acceptor(own)
        for _ in range(20):
            scene.client()
        await scene.until(20)
        assert idle.least_of_others() == 20
        acceptor.close()
        assert idle.least_of_others() is None

    play(act)
