"""HTTP as uvicorn speaks it, with bounds that it does not have: on the bytes before a request's body, and on how long a
client may take to send a request and to read its answer. What asks for another protocol is answered in this one."""

import asyncio
import time
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.api.body import REFUSAL
from app.api.lingering import LingeringProtocol
from app.errors import RequestTimeout

TOO_SLOW = "the request did not come in time; send it in one go"
MAX_HEAD_BYTES = 64 * 1024
"""Of a request's path and headers, and of what may come around its body without being any of it."""
_LONG_HEAD = f"the request's path and headers are too long; they may take {MAX_HEAD_BYTES:,} bytes"
_UNREADABLE = "what was sent is no HTTP/1 request"
_LONG_FRAMING = f"what comes beside the request's body is too long; it may take {MAX_HEAD_BYTES:,} bytes"


class _LongPathError(HttpParserError):
    """The parser raises an error of its own with this one as its context."""


class BoundedProtocol(LingeringProtocol):
    """Refuses a request whose path and headers do not end, and clients that keep it waiting; keeps to HTTP/1.

    The parser joins the pieces of a header as they come, so that one without an end takes ever more memory and time.
    What came in one piece with the request's first byte is not counted: it may hold the body of an earlier request.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes: int | None = None  # None: no head has begun that has not ended
        self._begun_now = False
        self.body_comes = False  # with the bytes that are being parsed
        self._bodiless_bytes = 0
        self._asks_to_upgrade = False
        self._answered: RequestResponseCycle | None = None
        self._incomplete_since: float | None = None
        self._unread_since: float | None = None
        self._refusal = ""  # what is told when all requests before the unreadable bytes are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client is there; its first request is awaited."""
        super().connection_made(transport)
        self._incomplete_since = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left: every request of its is told, where uvicorn tells the newest only, and none is kept.

        A request knows its protocol. If that knew it for longer, both would wait with megabytes of body for a garbage
        collection that goes through everything, which is rare.
        """
        super().connection_lost(exc)
        for one in (self._answered, *(cycle for cycle, _ in self.pipeline)):
            if one is not None and not one.response_complete:
                one.disconnected = True
                one.message_event.set()
        self.pipeline.clear()
        self.cycle = self._answered = None  # type: ignore[assignment]  # as uvicorn begins

    def end_if_slow(self, now: float, seconds: float) -> None:
        """End the connection when its client has been sending a request, or not reading, for longer than this.

        `now` is on the clock of time.monotonic(). To be called about once a second.
        """
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > seconds:
            self.transport.abort()
            return
        if self._incomplete_since is None:
            return
        if self.flow.read_paused:
            self._incomplete_since = now  # the client cannot send: another request of its is being answered
        elif now - self._incomplete_since > seconds:
            self.end_incomplete()

    def end_incomplete(self) -> None:
        """The request that is coming has taken too long; what is answered before it is not disturbed."""
        if self.is_ending:
            return
        answered: bool = self.cycle is None or self.cycle.response_complete
        if self._head_bytes is not None and not answered:
            return
        self._incomplete_since = None
        if self._head_bytes is not None:
            self.tell(RequestTimeout(TOO_SLOW))
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self.throws_away(data):
            return
        if self._refusal:
            return  # nothing that follows can be told apart; it is read, for what is left unread resets a connection
        self._begun_now = self.body_comes = False
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # The latter comes from CONNECT alone, whose request is the newest; and we are no proxy.
            message = _LONG_HEAD if isinstance(error.__context__, _LongPathError) else _UNREADABLE
            self._refuse_newest(message, is_whole=isinstance(error, HttpParserUpgrade))
            return
        if self._begun_now or self.is_ending:
            return
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_newest(_LONG_HEAD)
        elif self._incomplete_since is not None:
            self._bodiless_bytes = 0 if self.body_comes else self._bodiless_bytes + len(data)
            if self._bodiless_bytes > MAX_HEAD_BYTES:
                self._refuse_newest(_LONG_FRAMING)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = self._bodiless_bytes = 0
        self._begun_now = True
        self._unread_since = None  # whoever sends the next request has read the answer before it
        self._incomplete_since = time.monotonic()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what follows a body is a trailer, which nothing here has a use for (RFC 9110, section 6.5.1)."""
        if self._head_bytes is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """It has ended."""
        self.end_of_head()
        self.check_head()
        self._asks_to_upgrade = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._asks_to_upgrade:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self.body_comes = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._asks_to_upgrade:
            return  # a head alone: see `_parse`
        self._incomplete_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is written; when it was the last before bytes that are no request, those are refused."""
        if not self._refusal or self.pipeline or self.is_ending:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.send_400_response(self._refusal)

    def send_400_response(self, msg: str) -> None:
        """Tell the client, and the route that waits for more of the request, which counts it."""
        cycle: object = self.cycle
        if isinstance(cycle, RequestResponseCycle):
            cycle.scope["state"][REFUSAL] = msg
        super().send_400_response(msg)

    def _refuse_newest(self, message: str, *, is_whole: bool = False) -> None:
        """Refuse the request that is coming, after the answers to those before it, and close the connection.

        `is_whole`: it has been taken for a request already, though none of its body is missing.
        """
        self.logger.warning(message)
        newest, before = self.cycle, bool(self.pipeline)
        if newest is None or newest.response_complete:
            before = False
        elif is_whole or newest.more_body:  # it is the one that cannot be read
            if before:
                self.pipeline.popleft()
        else:
            before = True
        if not before:
            self.send_400_response(message)
            return
        self._refusal = message
        self._incomplete_since = None

    def check_head(self) -> None:
        """Raises HttpParserError for what the parser lets pass: RFC 9112, sections 3.2 (Host) and 6.1 (codings).

        And for a path, which may have come in one piece with the first byte, that no parser of URLs takes.
        """
        if len(self.url) >= MAX_HEAD_BYTES:
            raise _LongPathError
        hosts = 0
        for name, value in self.headers:
            hosts += name == b"host"
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise HttpParserError("a transfer coding besides chunked")
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            raise HttpParserError("not one Host")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def end_of_head(self) -> None:
        """Stop counting: what follows is a body, which others bound."""
        self._head_bytes = None

    def _parse(self, data: bytes | memoryview) -> None:
        """Parse this, and ignore wishes for another protocol (h2c, websocket), as a server may: RFC 9110, section 7.8.

        The parser takes the request for ended where its head ends, and HTTP with it. So another one is given the head,
        without the wish, and then what follows, which is a body like any other. Raises HttpParserError, and
        HttpParserUpgrade where the method itself, CONNECT, is the wish.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if not self._asks_to_upgrade:
                    raise
                self._asks_to_upgrade = False
                began, head = self._incomplete_since, self._head_without_upgrade()
                # The old one reads no more where the connection is to close.
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                self.parser.feed_data(head)
                if self._incomplete_since is not None:
                    self._incomplete_since = began
                data = memoryview(data)[upgrade.args[0] :]
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])
