"""Connections that rest between requests: they end, whatever came last, and keep nothing large."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
import uvloop
from app.api.hot_protocol import HotProtocol
from app.api.large import LARGE_BYTES
from app.api.service import create_app
from app.listener import open_listener

from tests.api.checks import RANK
from tests.processes import WAIT_SECONDS
from tests.small_model import SmallModel

BODY = json.dumps({"candidates": ["i1", "i2"]}).encode()


def request(body: bytes = BODY) -> bytes:
    return f"POST {RANK} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def served(small: SmallModel, ask: Callable[[socket.socket], Any], rest_seconds: int) -> list[HotProtocol]:
    """Let a client ask a real server, whose connections may rest for so long; gives those that are left."""
    settings = small.settings(poll_seconds=3600.0)

    async def main() -> list[HotProtocol]:
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings),
                http=HotProtocol,
                ws="none",
                log_config=None,
                timeout_keep_alive=rest_seconds,
            )
        )
        with open_listener("127.0.0.1", 0) as listener:
            address = listener.getsockname()
            serving = asyncio.create_task(server.serve([listener]))
            try:
                with await asyncio.to_thread(socket.create_connection, address, WAIT_SECONDS) as client:
                    await asyncio.to_thread(ask, client)
                    left = list(server.server_state.connections)
            finally:
                server.should_exit = True
                await serving
        return left  # type: ignore[return-value]  # it made no others

    return uvloop.run(main())


@pytest.mark.parametrize("after", [b"", b"\r\n", b"\n"], ids=["nothing", "a line's end", "another"])
def test_a_connection_that_rests_is_ended_whatever_came_after_its_request(
    small: SmallModel, after: bytes
) -> None:
    def ask(client: socket.socket) -> None:
        client.sendall(request())
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(after)
        assert client.recv(1) == b""

    served(small, ask, rest_seconds=1)


def test_a_connection_that_rests_does_not_keep_the_body_of_its_last_request(small: SmallModel) -> None:
    def ask(client: socket.socket) -> None:
        client.sendall(request(BODY.ljust(LARGE_BYTES)))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

    (left,) = served(small, ask, rest_seconds=60)
    assert len(left.cycle.body) == 0
