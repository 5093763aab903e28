"""Connections that rest between requests, or have ended: they end, whatever came last, and keep nothing large."""

import asyncio
import gc
import json
import socket
import time
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
import uvloop
from app.api.hot_protocol import HotProtocol
from app.api.large import LARGE_BYTES
from app.api.service import create_app
from app.listener import open_listener
from uvicorn.server import ServerState

from tests.api.checks import AN_HOUR_MS, RANK
from tests.e2e.wire import until_closed
from tests.processes import WAIT_SECONDS
from tests.small_model import SmallModel

BODY = json.dumps({"candidates": ["i1", "i2"]}).encode()
LARGE = BODY.ljust(3_000_000)
TURNS = 500
"""Of the event loop, for what is under way when a client leaves: half a second at least, and more where the machine
stands still. No collection comes meanwhile: it is switched off."""
REFUSED = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"  # before its body comes


def request(body: bytes = BODY) -> bytes:
    return f"POST {RANK} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def serving(small: SmallModel, rest_seconds: int = 60) -> AsyncIterator[tuple[ServerState, Any]]:
    """A real server, whose connections may rest for so long: what it knows of them, and its address."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(small.settings(poll_seconds=3600.0, deadline_ms=AN_HOUR_MS)),
            http=HotProtocol,
            ws="none",
            log_config=None,
            timeout_keep_alive=rest_seconds,
        )
    )
    with open_listener("127.0.0.1", 0) as listener:
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield server.server_state, listener.getsockname()
        finally:
            server.should_exit = True
            await running


def waiting_for(event: asyncio.Event, application: Any, reached: asyncio.Event) -> Any:
    """The application, which sets `reached` when it is asked and answers nothing before `event` has happened."""

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        await event.wait()
        await application(scope, receive, send)

    return waits


def served(small: SmallModel, ask: Callable[[socket.socket], Any], rest_seconds: int) -> list[int]:
    """Let a client ask; gives how many bytes of body each connection keeps that is left."""

    async def main() -> list[int]:
        async with serving(small, rest_seconds) as (state, address):
            with await asyncio.to_thread(socket.create_connection, address, WAIT_SECONDS) as client:
                await asyncio.to_thread(ask, client)
                return [len(one.cycle.body) for one in state.connections]  # type: ignore[union-attr]

    return uvloop.run(main())


def rests(small: SmallModel, ask: Callable[[socket.socket], Any]) -> None:
    """Let a client ask, and wait for the end of its connection.

    Once more where that came before all was sent, as it does where the machine stands still for a second.
    """
    for _ in range(5):
        with suppress(ConnectionError):
            served(small, ask, rest_seconds=1)
            return
    raise AssertionError("the connection is reset each time")


@pytest.mark.parametrize("after", [b"", b"\r\n", b"\n"], ids=["nothing", "a line's end", "another"])
def test_a_connection_that_rests_is_ended_whatever_came_after_its_request(
    small: SmallModel, after: bytes
) -> None:
    def ask(client: socket.socket) -> None:
        client.sendall(request())
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(after)
        assert client.recv(1) == b""

    rests(small, ask)


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("after", [b"", b"\r\n"], ids=["nothing", "a line's end"])
def test_a_connection_that_rests_is_ended_where_the_body_came_after_the_answer(
    small: SmallModel, pieces: int, after: bytes
) -> None:
    def ask(client: socket.socket) -> None:
        client.sendall(REFUSED)
        assert client.recv(65536).startswith(b"HTTP/1.1 404 ")
        for begin in range(0, 10, 10 // pieces):
            client.sendall(b"0123456789"[begin : begin + 10 // pieces])
            time.sleep(0.05)  # else both may come in one piece
        client.sendall(after)
        assert client.recv(1) == b""

    rests(small, ask)


def test_a_request_that_came_with_the_late_body_of_the_one_before_is_no_rest(small: SmallModel) -> None:
    """Its connection is not ended while it is answered, however long that takes."""
    released, reached = asyncio.Event(), asyncio.Event()
    asked = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"

    async def main() -> bytes:
        async with serving(small) as (state, address):
            with await asyncio.to_thread(socket.create_connection, address, WAIT_SECONDS) as client:
                await asyncio.to_thread(client.sendall, REFUSED)
                assert (await asyncio.to_thread(client.recv, 65536)).startswith(b"HTTP/1.1 404 ")
                (protocol,) = state.connections
                protocol.app = waiting_for(released, protocol.app, reached)  # type: ignore[union-attr]
                await asyncio.to_thread(client.sendall, b"0123456789" + asked)
                await asyncio.wait_for(reached.wait(), WAIT_SECONDS)
                protocol.timeout_keep_alive = 0  # as if it had been that long
                protocol.timeout_keep_alive_handler()  # type: ignore[union-attr]
                released.set()
                return await asyncio.to_thread(client.recv, 65536)

    assert uvloop.run(main()).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_rests_does_not_keep_the_body_of_its_last_request(small: SmallModel) -> None:
    def ask(client: socket.socket) -> None:
        client.sendall(request(BODY.ljust(LARGE_BYTES)))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

    assert served(small, ask, rest_seconds=60) == [0]


@pytest.mark.parametrize("ways", [("", ""), ("?ordinary", ""), ("", "?ordinary"), ("?ordinary",) * 2])
def test_at_the_end_of_the_service_all_requests_of_a_pipeline_are_answered(
    small: SmallModel, ways: tuple[str, str]
) -> None:
    """The last answer says that it is the last."""
    asked = b"".join(request().replace(RANK.encode(), f"{RANK}{way}".encode(), 1) for way in ways)

    async def main() -> bytes:
        async with serving(small) as (state, address):
            with await asyncio.to_thread(socket.create_connection, address, WAIT_SECONDS) as client:
                await until(lambda: state.connections)
                for one in state.connections:
                    one.farewell()  # type: ignore[union-attr]
                client.sendall(asked)
                return await asyncio.to_thread(until_closed, client)

    first, second = uvloop.run(main()).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b"connection: close" not in first.lower()
    assert b"connection: close" in second.lower()


BY_LENGTH = [f"Content-Length: {len(LARGE)}\r\n\r\n".encode(), LARGE]
IN_CHUNKS = [b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(LARGE), LARGE]


@pytest.mark.parametrize("way", ["", "?ordinary"])
@pytest.mark.parametrize("rest", [BY_LENGTH, IN_CHUNKS], ids=["by length", "in chunks"])
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "cut"])
def test_nothing_of_a_client_that_left_waits_for_a_garbage_collection(
    small: SmallModel, way: str, rest: list[bytes], cut: int
) -> None:
    ask = f"POST {RANK}{way} HTTP/1.1\r\nHost: x\r\n".encode() + b"".join(rest)
    protocols, kept = left_of(small, ask[: len(ask) - cut])
    assert protocols == []
    assert kept < len(LARGE) / 2


def test_nothing_of_a_client_that_left_with_requests_in_line_waits_for_one(small: SmallModel) -> None:
    ask = request(b"{}").replace(b"/rank", b"/rank?ordinary") * 5
    protocols, _ = left_of(small, ask + ask[:-1])
    assert protocols == []


def left_of(small: SmallModel, ask: bytes) -> tuple[list[Any], int]:
    """Its protocol, if that is left, and the bytes that are, once a client has sent this and gone."""

    async def main() -> tuple[list[Any], int]:
        async with serving(small) as (state, address):
            gc.collect()
            gc.disable()
            tracemalloc.start()
            with await asyncio.to_thread(socket.create_connection, address, WAIT_SECONDS) as client:
                await until(lambda: state.connections)
                known = [weakref.ref(one) for one in state.connections]
                before, _ = tracemalloc.get_traced_memory()
                await asyncio.to_thread(client.sendall, ask)
            await until(lambda: not (state.connections or state.tasks))
            for _ in range(TURNS):
                await asyncio.sleep(0.001)
                after, _ = tracemalloc.get_traced_memory()
                if all(one() is None for one in known) and after - before < len(LARGE) / 2:
                    break
            return [one() for one in known if one() is not None], after - before

    try:
        return uvloop.run(main())
    finally:
        tracemalloc.stop()
        gc.enable()


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not check():  # noqa: ASYNC110  (an event would have to be in the code)
            await asyncio.sleep(0.001)
