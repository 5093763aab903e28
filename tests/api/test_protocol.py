"""BoundedProtocol on real sockets and a real event loop, where a test must hold back an answer, or ask for the time."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from app.api.protocol import BoundedProtocol
from uvicorn import Config
from uvicorn.server import ServerState

from tests.processes import WAIT_SECONDS
from tests.sockets import connected

LARGE = b"x" * 3_000_000
LATER = 1000.0


class Scene:
    """A server whose application waits for `go` before it answers, with as many bytes as the path says."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0
        self.state = ServerState()
        config = Config(
            self._application,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            loop="uvloop",
            timeout_keep_alive=int(WAIT_SECONDS),
        )
        self._make = lambda: BoundedProtocol(config=config, server_state=self.state, app_state={})

    async def listen(self) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(self._make, "127.0.0.1", 0)

    @property
    def connection(self) -> BoundedProtocol:
        (one,) = self.state.connections
        assert isinstance(one, BoundedProtocol)
        return one

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await self.go.wait()
        if scope["method"] == "POST":
            while (await receive()).get("more_body"):
                pass
        body = b"a" * int(scope["path"][1:])
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def play(act: Callable[[Scene, socket.socket], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        server = await scene.listen()
        with connected(server.sockets[0].getsockname()[1]) as client:
            async with asyncio.timeout(WAIT_SECONDS):
                await until(lambda: scene.state.connections)
                await act(scene, client)
        server.close()
        for one in list(scene.state.connections):
            one.transport.abort()  # type: ignore[union-attr]
        await asyncio.sleep(0)

    uvloop.run(run())


def ask(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def until(check: Callable[[], Any]) -> None:
    while not check():  # noqa: ASYNC110  (an event would have to be in the code)
        await asyncio.sleep(0.001)


async def received(client: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where the connection ends before."""

    def read() -> bytes:
        found = bytearray()
        while len(found) < size and (part := client.recv(size - len(found))):
            found += part
        return bytes(found)

    return await asyncio.to_thread(read)


async def read_answer(client: socket.socket, size: int) -> bytes:
    """The head of an answer whose body has so many bytes."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = await received(client, 1)
        assert part, f"the connection ended after {head!r}"
        head += part
    assert await received(client, size) == b"a" * size
    return head


def test_a_request_that_waits_behind_another_is_not_late() -> None:
    async def act(scene: Scene, client: socket.socket) -> None:
        client.sendall(ask("/1") + ask("/2", "Content-Length: 5", method="POST"))
        await until(lambda: scene.asked)
        # Its body cannot come: nothing is read while the one before it is answered.
        for _ in range(3):
            scene.connection.end_if_slow(time.monotonic() + LATER, 1.0)
        scene.go.set()
        assert b" 200 " in await read_answer(client, 1)
        scene.connection.end_if_slow(time.monotonic(), 1.0)
        client.sendall(b"12345")
        assert b" 200 " in await read_answer(client, 2)

    play(act)


def test_a_client_that_reads_one_answer_after_another_is_not_slow() -> None:
    size = 10 * len(LARGE)  # more than the buffers of two sockets hold

    async def act(scene: Scene, client: socket.socket) -> None:
        scene.go.set()
        for number in range(3):
            client.sendall(ask(f"/{size}"))
            await until(scene.connection.transport.get_write_buffer_size)
            # As if the looks at the connection fell into the middle of every answer.
            scene.connection.end_if_slow(time.monotonic() + number * LATER, 1.0)
            assert b" 200 " in await read_answer(client, size)
        client.sendall(ask(f"/{size}"))
        await until(scene.connection.transport.get_write_buffer_size)
        for later in (0.0, LATER):
            scene.connection.end_if_slow(time.monotonic() + later, 1.0)
        await until(lambda: not scene.state.connections)

    play(act)


def test_the_last_answer_is_read_by_a_client_that_has_sent_more_ahead() -> None:
    async def act(scene: Scene, client: socket.socket) -> None:
        sent = asyncio.create_task(
            asyncio.to_thread(client.sendall, ask("/1", "Connection: close") + ask("/2") + LARGE)
        )
        await until(lambda: scene.asked)
        scene.go.set()
        await sent
        assert b"connection: close" in (await read_answer(client, 1)).lower()
        assert await received(client, 1) == b""
        assert scene.asked == 1

    play(act)


def test_a_connection_that_ends_while_the_service_does_is_not_waited_for_long() -> None:
    async def act(scene: Scene, client: socket.socket) -> None:
        client.sendall(ask("/1", "Content-Length: 5"))
        await until(lambda: scene.asked)
        connection = scene.connection
        connection.shutdown()
        scene.go.set()
        assert b" 200 " in await read_answer(client, 1)
        assert await received(client, 1) == b""
        timer = connection._end_of_linger
        assert timer is not None
        assert timer.when() < asyncio.get_running_loop().time() + 1.0

    play(act)


def test_a_trailer_is_no_header() -> None:
    async def act(scene: Scene, client: socket.socket) -> None:
        head = ask("/1", "Transfer-Encoding: chunked", method="POST")
        client.sendall(head + b"1\r\na\r\n0\r\nX-Late: 1\r\n\r\n")
        await until(lambda: scene.asked)
        assert b"x-late" not in dict(scene.connection.headers)
        scene.go.set()
        assert b" 200 " in await read_answer(client, 1)

    play(act)
