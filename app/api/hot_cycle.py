"""One hot request on its connection, from the end of its head to its answer."""

import asyncio
import time
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from app.api.envelope import error_headers, error_payload, too_large
from app.api.hot import Ask, Headers, Hot
from app.api.known_heads import Route
from app.api.large import LARGE_BYTES
from app.api.presence import Presence
from app.api.request_ids import RequestIds
from app.errors import ServiceError


class Connection(Protocol):
    """What a request needs of the protocol that it came by."""

    hot: Hot
    request_ids: RequestIds
    transport: asyncio.Transport
    server_state: ServerState

    def head(self, status: int, headers: Headers) -> bytes:
        """The head of an answer that leaves the connection open."""

    def linger(self) -> None:
        """Close the connection after the answer that was just written."""

    def on_response_complete(self) -> None:
        """Go on with the connection."""


def head_of(status: int, headers: Headers) -> bytes:
    """The head of an answer, up to the headers that differ from answer to answer."""
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    return STATUS_LINE[status] + lines + b"content-type: application/json\r\n"


class _Event(Protocol):
    def set(self) -> None: ...


class _NobodyWaits:
    def set(self) -> None:
        """Nothing waits for a hot request's body."""


class HotCycle:
    """One hot request and its answer; what HttpToolsProtocol asks of a cycle, and no more."""

    __slots__ = (
        *(
            "_hot",
            "_protocol",
            "body",
            "body_bytes",
            "disconnected",
            "keep_alive",
            "may_be_known",
            "model",
            "more_body",
        ),
        *("presence", "request_id", "response_complete", "route"),
    )
    message_event: _Event = _NobodyWaits()

    def __init__(
        self, protocol: Connection, model: str, route: Route, request_id: str, *, keeps_alive: bool
    ) -> None:
        """`request_id` is the client's; empty: it has one of ours."""
        self._protocol = protocol
        self._hot = protocol.hot
        self.model = model
        self.route = route
        self.body: bytes | bytearray = bytearray()
        self.body_bytes = 0  # once it is whole; the body itself is kept until the answer
        self.more_body = True
        self.keep_alive = keeps_alive
        self.disconnected = False
        self.response_complete = False
        self.presence: Presence | None = None  # of a large request that is whole
        self.may_be_known = keeps_alive and not request_id
        self.request_id = request_id or protocol.request_ids.new()

    @property
    def is_whole_and_usual(self) -> bool:
        """Whether all of it has come, and nothing in its head is its own."""
        return self.may_be_known and not self.more_body

    def begin(self, received: float) -> None:
        """The body is whole: have it answered."""
        self.more_body = False
        self.body_bytes = len(self.body)
        ask = Ask(self.route, self.model, self.body, self.request_id, received, self._is_gone, self.respond)
        if self.body_bytes >= LARGE_BYTES:
            self.presence = presence = Presence(self._protocol.transport)
            ask.gone, ask.is_doubtful = presence.has_left, presence.is_doubtful
        self._hot.answer(ask)

    def refuse_large(self, most: int) -> None:
        """Refuse a body that is larger than the service takes, before all of it has come."""
        self.refuse(too_large(most))

    def refuse(self, error: ServiceError) -> None:
        """Answer with an error what has not come to the ranker."""
        self._hot.refuse(self.model, time.perf_counter(), error)
        self.respond(error.status, error_payload(error), error_headers(error))

    def respond(self, status: int, payload: bytes, headers: Headers) -> None:
        """Write the answer; the connection is then free for the next request."""
        if self.response_complete or self._is_gone():
            return
        protocol = self._protocol
        head = self._head(status, headers)
        protocol.transport.write(
            b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (head, self.request_id.encode(), len(payload), payload)
        )
        self.response_complete = True
        self.body = b""  # it would stay for as long as the connection rests
        if not self.keep_alive:
            protocol.linger()
        protocol.on_response_complete()

    def _head(self, status: int, headers: Headers) -> bytes:
        closes = any(name == b"connection" for name, _ in headers)
        if self.keep_alive and not closes:
            return self._protocol.head(status, headers)
        self.keep_alive = False
        lines = [*self._protocol.server_state.default_headers, *headers]
        return head_of(status, lines if closes else [*lines, (b"connection", b"close")])

    def _is_gone(self) -> bool:
        return self.disconnected or self._protocol.transport.is_closing()
