"""The protocol's own way for the two hot routes: from the parsed bytes straight to app/api/hot.py and back.

An ASGI application costs a request a task, an event and a dozen layers, together about as much as ranking a hundred
candidates with a small model. What is not plainly a hot request (another method or path, a query, an escape, HTTP/1.0,
a pipeline, a client that does not read) goes the ordinary way, where the same routes exist.
"""

import re
import secrets
import time
from typing import Any, Protocol, cast

from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.api.envelope import REQUEST_ID, announces_more, error_headers, error_payload, too_large
from app.api.hot import Ask, Headers, Hot, Route
from app.api.protocol import BoundedProtocol

_HOT = re.compile(rb"/v1/models/([A-Za-z0-9._-]{1,64})/(rank|recommend)")
_ROUTES: dict[bytes, Route] = {b"rank": "rank", b"recommend": "recommend"}


class HotProtocol(BoundedProtocol):
    """HTTP with a short way for hot requests."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        application = cast(FastAPI, self.config.app)
        self.hot: Hot = application.state.hot
        self._max_body_bytes: int = application.state.service.settings.max_body_bytes
        self._read_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._read_at = time.perf_counter()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is there: which way does the request go?"""
        matched = _HOT.fullmatch(self.url)
        if matched is None or not self._is_plain():
            super().on_headers_complete()
            return
        self.end_of_head()
        model, route = matched.groups()
        headers = dict(self.headers)
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        cycle = HotCycle(self, model.decode(), _ROUTES[route], request_id)
        self.cycle = cast(Any, cycle)
        if announces_more(headers.get(b"content-length", b"0").decode("latin-1"), self._max_body_bytes):
            cycle.refuse_large(self._max_body_bytes)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        cycle: object = self.cycle
        if not isinstance(cycle, HotCycle):
            super().on_body(body)
            return
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > self._max_body_bytes:
            cycle.refuse_large(self._max_body_bytes)

    def on_message_complete(self) -> None:
        """The request is whole."""
        cycle: object = self.cycle
        if not isinstance(cycle, HotCycle):
            super().on_message_complete()
        elif not cycle.response_complete:
            cycle.begin(self._read_at)

    def _is_plain(self) -> bool:
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.root_path
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        )


class _Event(Protocol):
    def set(self) -> None: ...


class _NobodyWaits:
    def set(self) -> None:
        """Nothing waits for a hot request's body."""


class HotCycle:
    """One hot request and its answer; what HttpToolsProtocol asks of a cycle, and no more."""

    __slots__ = (
        *("_hot", "_protocol", "body", "disconnected", "keep_alive", "model", "more_body"),
        *("request_id", "response_complete", "route"),
    )
    message_event: _Event = _NobodyWaits()

    def __init__(self, protocol: HotProtocol, model: str, route: Route, request_id: str) -> None:
        self._protocol = protocol
        self._hot = protocol.hot
        self.model = model
        self.route = route
        self.body = bytearray()
        self.more_body = True
        self.keep_alive = protocol.parser.should_keep_alive()
        self.disconnected = False
        self.response_complete = False
        self.request_id = request_id

    def begin(self, received: float) -> None:
        """The body is whole: have it answered."""
        self.more_body = False
        ask = Ask(self.route, self.model, self.body, self.request_id, received, self._is_gone, self.respond)
        self._hot.answer(ask)

    def refuse_large(self, most: int) -> None:
        """Refuse a body that is larger than the service takes, before all of it has come."""
        error = too_large(most)
        self._hot.refuse(self.model, time.perf_counter(), error)
        self.respond(error.status, error_payload(error), error_headers(error))

    def respond(self, status: int, payload: bytes, headers: Headers) -> None:
        """Write the answer; the connection is then free for the next request."""
        if self.response_complete or self.disconnected:
            return
        protocol = self._protocol
        head = [STATUS_LINE[status]]
        for name, value in (*protocol.server_state.default_headers, *headers):
            head += (name, b": ", value, b"\r\n")
            if name == b"connection":
                self.keep_alive = False
        if not self.keep_alive and not any(name == b"connection" for name, _ in headers):
            head.append(b"connection: close\r\n")
        head.append(
            b"content-type: application/json\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
            % (self.request_id.encode(), len(payload))
        )
        head.append(payload)
        protocol.transport.write(b"".join(head))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()

    def _is_gone(self) -> bool:
        return self.disconnected or self._protocol.transport.is_closing()
