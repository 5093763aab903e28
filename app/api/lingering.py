"""Connections that are closed so that the last answer is read, by a client that still sends as well.

Bytes that a server leaves unread, or that come after it has closed, make the kernel reset the connection, and a reset
takes away what the client has received and not read. So only our side is closed at first, and what still comes is read
and thrown away, for a while: RFC 9112, section 9.6.
"""

import asyncio
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.envelope import error_payload
from app.errors import BadRequest, ServiceError

LINGER_SECONDS = 5.0
_LINGER_AT_THE_END_SECONDS = 0.5
LINGER_BYTES = 16 * 1024 * 1024


class LingeringProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, but for how a connection ends, and in what form it is told so."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._thrown_away_bytes: int | None = None  # None: the connection goes on
        self._end_of_linger: asyncio.TimerHandle | None = None
        self.service_ends = False  # then the answer to the newest request is the last one on this connection
        self._last: _Cycle | None = None

    @property
    def is_ending(self) -> bool:
        """Whether nothing is read or written any more."""
        return self._thrown_away_bytes is not None or self.transport.is_closing()

    def linger(self) -> None:
        """Close our side after the answer that was just written.

        What comes is thrown away, until the client closes its own side or it has been long or much. Always so, since
        what a client has sent ahead, and nobody has read, is not known here.
        """
        if self.is_ending:
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # it is not answered any more
            cycle.disconnected = True
            cycle.body = bytearray()
            cycle.message_event.set()
        self._thrown_away_bytes = 0
        self.flow.resume_reading()
        self.transport.write_eof()
        seconds = _LINGER_AT_THE_END_SECONDS if self.service_ends else LINGER_SECONDS
        self._linger_for(seconds)

    def _linger_for(self, seconds: float) -> None:
        if self._end_of_linger is not None:
            self._end_of_linger.cancel()
        self._end_of_linger = self.loop.call_later(seconds, self.transport.close)

    def throws_away(self, data: bytes) -> bool:
        """Whether these bytes are of no use any more."""
        if self._thrown_away_bytes is None:
            return False
        self._thrown_away_bytes += len(data)
        if self._thrown_away_bytes > LINGER_BYTES:
            self.transport.close()
        return True

    def tell(self, error: ServiceError) -> None:
        """Answer with an error what never became a request, as the last thing on this connection."""
        if self.is_ending:
            return
        payload = error_payload(error)
        lines = [b"%b: %b\r\n" % pair for pair in self.server_state.default_headers]
        lines.append(b"content-type: application/json\r\nconnection: close\r\n")
        lines.append(b"content-length: %d\r\n\r\n" % len(payload))
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, payload]))
        self.linger()

    def send_400_response(self, msg: str) -> None:
        """Tell the client that what it sent is no HTTP that this service reads."""
        self.tell(BadRequest(msg))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client is there, and may be just before the end."""
        super().connection_made(transport)
        self.service_ends = getattr(getattr(self.config.app, "state", None), "draining", False)

    def on_headers_complete(self) -> None:
        """The head of a request is there; its cycle closes the connection, if it must, as all of this does."""
        if self.is_ending:
            return  # it stood in the same packet as what ended the connection
        super().on_headers_complete()
        cycle: object = self.cycle
        if isinstance(cycle, RequestResponseCycle):
            cycle.transport = cast(asyncio.Transport, _Gentle(self))
        self.end_with_newest()

    def on_response_complete(self) -> None:
        """An answer is written. Where that ends the connection, no other request on it is begun."""
        if self._thrown_away_bytes is None:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def farewell(self) -> None:
        """The service is going to end: let the last answer that is owed, or the next one, tell the client so."""
        self.service_ends = True
        self.end_with_newest()

    def end_with_newest(self) -> None:
        """Where the service ends, let the newest request be the last one; those before it are answered first."""
        before, newest = self._last, cast("_Cycle | None", self.cycle)
        if not self.service_ends or newest is None or newest is before:
            return
        if before is not None and not _has_begun(before):
            before.keep_alive = True
        self._last = None
        if newest.keep_alive and not _has_begun(newest):
            newest.keep_alive = False
            self._last = newest

    def shutdown(self) -> None:
        """The service ends."""
        self.service_ends = True
        if self._thrown_away_bytes is None:
            super().shutdown()
        else:
            self._linger_for(_LINGER_AT_THE_END_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        super().connection_lost(exc)
        self._last = None
        if self._end_of_linger is not None:
            self._end_of_linger.cancel()


class _Cycle(Protocol):
    """A request and its answer, on either way."""

    keep_alive: bool
    response_complete: bool


def _has_begun(cycle: _Cycle) -> bool:
    """Whether its answer is on its way, and with it what was told of the connection."""
    return cycle.response_complete or getattr(cycle, "response_started", False)


class _Gentle:
    """A protocol's transport, as a cycle sees it."""

    def __init__(self, protocol: LingeringProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write

    def is_closing(self) -> bool:
        return self._protocol.is_ending

    def close(self) -> None:
        self._protocol.linger()
