"""The serving process itself: uvicorn on the inherited socket, which drains on SIGTERM and never outlives its drain."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.api.acceptor import Acceptor
from app.api.hot_protocol import HotProtocol
from app.api.protocol import BoundedProtocol
from app.errors import ServiceError
from app.forking import await_fork
from app.held_connections import Place
from app.lifeline import end_with_parent, name_process
from app.machine import give_back
from app.settings import Settings

_LOG = logging.getLogger(__name__)
# Longer than the idle time-out of common load balancers (60 s): else they send on a connection that is just closing.
_KEEP_ALIVE_SECONDS = 65
_CLOSE_UP_SECONDS = 2
# Clients that are about to send when the drain begins: each has an answer that says `Connection: close`.
_FAREWELL_SECONDS = 0.25
_LAST_FAREWELL_SECONDS = 0.1
_TICKS_A_SECOND = 10
# A thread that loads a version or scores for a shadow may hold Python for so long while requests wait. The default is
# 5 ms, longer than most of them take; while only one thread has work nothing is switched.
_SWITCH_SECONDS = 0.0005
# libuv takes one connection from each handle in a turn of the event loop, and where turns hold runs of a graph,
# hundreds that come at once would wait for a second, with their requests. So one worker alone has its listening socket
# as often as this; several share it by an acceptor.
_HANDLES = 16
# What uvicorn imports when it begins to serve; the warm parent has it for all workers.
_IMPORTED_LATE = ("uvicorn.lifespan.on", "uvicorn.loops.uvloop", "uvloop")


def run_worker(create_app: Callable[[Settings], FastAPI]) -> None:
    """Be a worker: read the command line that the supervisor gives, and the settings from the environment; serve.

    With `--orders`, be the warm parent first, of which each worker is a fork.
    Exits with os.EX_CONFIG when the application cannot be made, so that the supervisor does not try again.
    """
    parser = argparse.ArgumentParser(description="Serve from an inherited socket.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--socket", type=int, help="File descriptor of the listening socket.")
    source.add_argument("--orders", type=int, help="Fork workers on the orders that come on this descriptor.")
    parser.add_argument("--parent", type=int, required=True, help="Drain and end when this process ends.")
    arguments = parser.parse_args()
    end_with_parent(arguments.parent, signal.SIGTERM)
    listener, place = arguments.socket, None
    if listener is None:
        for module in _IMPORTED_LATE:
            import_module(module)
        name_process("slimrank-warm")
        listener, place = await_fork(socket.socket(fileno=arguments.orders))
        end_with_parent(arguments.parent, signal.SIGTERM)
    name_process("slimrank-worker")
    sys.setswitchinterval(_SWITCH_SECONDS)
    logging.basicConfig(format=f"%(asctime)s worker {os.getpid()}: %(message)s", level=logging.INFO)
    settings = Settings()
    try:
        app = create_app(settings)
    except ServiceError as error:
        print(f"error: {error.message}", file=sys.stderr, flush=True)
        sys.exit(os.EX_CONFIG)
    Server(app, settings, place).run([socket.socket(fileno=listener)])


class Server(uvicorn.Server):
    """A uvicorn server that drains on SIGTERM, ends with code 0, and never outlives its drain."""

    def __init__(self, app: FastAPI, settings: Settings, place: Place | None = None) -> None:
        """`place` is where this worker tells the others what it holds, if it can."""
        self._make_protocol = HotProtocol if hasattr(app.state, "hot") else BoundedProtocol
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=self._make_protocol,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            )
        )
        self._app = app
        self._drain_seconds = settings.drain_seconds
        self._client_seconds = settings.client_seconds
        self._shares_listener = settings.workers > 1
        self._place = place
        self._acceptors: list[Acceptor] = []
        self._drain_until: float | None = None

    def _flush_metrics(self) -> None:
        service = getattr(self._app.state, "service", None)  # another application has none
        try:
            if service is not None:
                service.metrics.flush()
        except Exception:  # noqa: BLE001  (it is logged whole)
            _LOG.exception("metrics: a fault of the service; what was counted last is lost")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; once in a second connections are looked at, instead of a timer for each request."""
        if counter % _TICKS_A_SECOND == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.end_if_slow(now, self._client_seconds)
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then leave everything loaded so far out of garbage collections: a full one takes tens of ms."""
        for one in sockets or ():
            # As it is: a duplicate would set it for all processes, by what this object knows.
            one.setblocking(False)
        times = 0 if self._shares_listener else _HANDLES
        await super().startup([one.dup() for one in sockets or () for _ in range(times)])
        gc.collect()
        gc.freeze()
        give_back()
        if self._shares_listener and not self.should_exit:
            held = self.server_state.connections
            self._acceptors = [Acceptor(one, self._protocol, held, self._place) for one in sockets or []]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain; hot requests that are not whole by then are told that the service ends, as tasks are.

        To close a connection on which a request has come that nobody has read would reset it, as would a listening
        socket with what waits in it. So for a moment everything goes on, with the last answer for each connection.
        """
        until = self._drain_until or time.monotonic() + self._drain_seconds
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.farewell()
        await asyncio.sleep(min(_FAREWELL_SECONDS, self._drain_seconds / 2))
        await self._stop_accepting(sockets or [])
        # For the first request of those that were accepted last.
        await asyncio.sleep(min(_LAST_FAREWELL_SECONDS, self._drain_seconds / 4))
        self.config.timeout_graceful_shutdown = max(0.0, until - time.monotonic())  # type: ignore[assignment]
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection, HotProtocol):
                connection.end()
        self._flush_metrics()  # the application has ended, and would not hand over what was counted since
        await asyncio.sleep(0)  # what was written leaves

    async def _stop_accepting(self, sockets: list[socket.socket]) -> None:
        for server in self.servers:
            server.close()
        held = self.server_state.connections
        # One worker alone has none, and takes what still waits by some that are made for it.
        acceptors = self._acceptors or [Acceptor(one, self._protocol, held) for one in sockets]
        for acceptor in acceptors:
            acceptor.close()
        for one in sockets:
            one.close()
        for acceptor in acceptors:
            await acceptor.wait_closed()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM alone means drain; unlike uvicorn's own, it is not raised again afterwards."""
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (a signal handler's form)
        """Begin to drain. `app.state.draining` tells readiness; the alarm ends this process should the drain hang."""
        self._app.state.draining = True
        self.should_exit = True
        self._drain_until = time.monotonic() + self._drain_seconds
        for acceptor in self._acceptors:
            acceptor.withdraw()
        signal.setitimer(signal.ITIMER_REAL, self._drain_seconds + _CLOSE_UP_SECONDS)

    def _protocol(self) -> asyncio.Protocol:
        """What uvicorn makes for each connection."""
        return self._make_protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
