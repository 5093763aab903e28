"""Whether the client of a large request is still there, asked of the kernel: what the loop has not read yet counts.

A client that has closed its socket and one that has only ended its sending look alike: both sent a FIN. They answer
differently to bytes, which the first resets. So whoever has sent a FIN is told to go on, by an interim answer that a
client of HTTP/1.1 must take at any time (RFC 9110, section 15.2); who does not reset that waits for its answer.
"""

import asyncio
import socket
import time

from app.api.large import DOUBT_SECONDS

_ESTABLISHED, _CLOSE_WAIT = 1, 8  # the first byte of tcp_info, as linux/tcp.h and net/tcp_states.h have it
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class Presence:
    """One client, from the time that its request is whole until it is answered."""

    __slots__ = ("_asked_at", "_socket", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._asked_at: float | None = None

    def has_left(self) -> bool:
        """Whether the client has left. Its connection, which may be read no more, is then ended."""
        if self._transport.is_closing():
            return True
        if self._state() in (_ESTABLISHED, _CLOSE_WAIT):
            return False
        self._transport.abort()
        return True

    def is_doubtful(self) -> bool:
        """Whether the client may have left, and has not had the time to show it. The first such call asks it."""
        if self._transport.is_closing() or self._state() != _CLOSE_WAIT:
            return False
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self._transport.write(_GO_ON)
        return now - self._asked_at < DOUBT_SECONDS

    def _state(self) -> int:
        return self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
