"""Takes connections from a listening socket that several workers share, so that each of them gets its part.

With uvicorn's own server whoever wakes first takes what is there. An acceptor takes up to sixteen in a turn of its
event loop, and one that is ahead of another worker lets a moment pass before it takes what is still there.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sized
from typing import Protocol

_RETRY_SECONDS = 1.0  # as asyncio's own servers wait
_MOST_IN_A_TURN = 16  # what others wait for meanwhile is a millisecond or two
_MOST_AT_THE_END = 4096  # more than can wait at once: clients that come faster must not hold up the end
_YIELD_SECONDS = 0.001  # the least that the event loop's timers know; an idle worker wakes in a tenth of it
# Errors of the one connection, which is gone with them: see "Error handling" in accept(2).
_OF_THE_CONNECTION = {
    *(errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.ENONET, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPERM, errno.EPROTO),
}
_LOG = logging.getLogger(__name__)


class Peers(Protocol):
    """What a worker says to the others, and knows of them; `app.held_connections.Place` is one."""

    def tell(self, held: int) -> None:
        """This worker accepts connections, and holds so many."""

    def withdraw(self) -> None:
        """This worker accepts no connections for now."""

    def least_of_others(self) -> int | None:
        """The connections of the one that holds the fewest; None: no other accepts."""


class Acceptor:
    """Accepts from `listener`, which stays the caller's to close, from now until `stop` or `close`.

    `connections` are those that this worker holds: a protocol is in it from `connection_made` to `connection_lost`.
    Without `peers` nobody is waited for. It has what uvicorn asks of a server: `close` and `wait_closed`.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        connections: Sized,
        peers: Peers | None = None,
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._connections = connections
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._stopped = False
        self._accepts = True  # as far as the others know
        self._withdrawn = False
        listener.setblocking(False)
        self._tell()
        self._loop.add_reader(listener, self._on_waiting)

    def withdraw(self) -> None:
        """Go on, but let the others take what they can. A signal may call this."""
        self._withdrawn = True
        self._withdraw()

    def stop(self) -> None:
        """Accept no more, from this very moment: what waits is for the other workers."""
        self._stopped = True
        self._withdraw()

    def close(self) -> None:
        """Accept no more; to be called in the event loop, before the listener is closed.

        What waits is taken: if no other worker has the listener, the kernel would reset it.
        """
        for _ in range(_MOST_AT_THE_END):
            if self._stopped or not self._take():
                break
        self.stop()
        self._pause()

    async def wait_closed(self) -> None:
        """Until all that was accepted is in `connections`, or gone."""
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _on_waiting(self) -> None:
        """Connections wait; another worker may be faster."""
        for _ in range(_MOST_IN_A_TURN):
            if self._stopped:
                self._pause()
                return
            held = self._tell()
            least = None if self._peers is None else self._peers.least_of_others()
            if least is not None and held > least + 1 + least // 8:
                self._rest_for(_YIELD_SECONDS)
                return
            if not self._take():
                return

    def _tell(self) -> int:
        held = len(self._connections) + len(self._beginning)
        if self._peers is not None and self._accepts:
            self._peers.tell(held)
        return held

    def _withdraw(self) -> None:
        self._accepts = False
        if self._peers is not None:
            self._peers.withdraw()

    def _take(self) -> bool:
        """Accept one connection; whether another may be looked for at once."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False  # none waits, or another worker has it
        except OSError as error:
            if error.errno in _OF_THE_CONNECTION:
                return True
            # For want of descriptors or memory, as a rule. What waits is left to the others, or to us later.
            _LOG.error("no connection can be accepted for %.0f s: %s", _RETRY_SECONDS, error)
            self._withdraw()
            self._rest_for(_RETRY_SECONDS)
            return False
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._on_begun)
        self._tell()
        return True

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError as error:
            _LOG.warning("a connection that was accepted could not begin: %s", error)
            connection.close()

    def _on_begun(self, task: asyncio.Task[None]) -> None:
        self._beginning.discard(task)
        self._tell()

    def _rest_for(self, seconds: float) -> None:
        self._pause()
        self._rest = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._rest = None
        if self._stopped:
            return
        self._accepts = not self._withdrawn
        self._loop.add_reader(self._listener, self._on_waiting)
        self._tell()
        self._take()

    def _pause(self) -> None:
        """Look at the listener no more, for now."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._loop.remove_reader(self._listener)
