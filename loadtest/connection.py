"""One HTTP/1.1 connection, as lean as Python allows: requests are bytes made beforehand, answers are parsed in C.

A general client spends several times as long on a request as the servers that are measured here do.
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import httptools

Done = Callable[["Connection", int, bytes, float], None]
"""Told the connection, the status (0: the connection was lost), the body and the time of the last byte."""


class Connection(asyncio.Protocol):
    """A connection with at most one request under way."""

    def __init__(self, on_done: Done, on_lost: Callable[["Connection"], None]) -> None:
        self._on_done = on_done
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.busy = False
        self.open = False

    def send(self, request: bytes) -> None:
        """Send one request; `on_done` is told its answer."""
        assert self._transport is not None
        self.busy = True
        self._transport.write(request)

    def close(self) -> None:
        """Close without telling anybody."""
        self.busy = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        # uvloop's transports are not of asyncio's class, though they have its methods.
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        """Called by asyncio."""
        self.open = False
        if self.busy:
            self._finish(0)
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish(0)
            self.close()

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._body = []

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        keep_alive = self._parser.should_keep_alive()
        status = self._parser.get_status_code()
        # A new parser for each answer: some servers' answers leave it in a state that refuses the next one.
        self._parser = httptools.HttpResponseParser(self)
        if not keep_alive:
            self.open = False
        self._finish(status)
        if not keep_alive:
            self.close()

    def _finish(self, status: int) -> None:
        if self.busy:
            self.busy = False
            self._on_done(self, status, b"".join(self._body), time.perf_counter())
