"""The supervisor's side of the warm parent, of which workers are forks, so that they share what they import."""

import asyncio
import errno
import logging
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from app.lifeline import ChildStarter, adopting_orphans

_LONGEST_REPORT_BYTES = 256
_NOT_HERE = {errno.ENOSYS, errno.EPERM, errno.ENODEV}
"""What kernels say of a call that they do not have, and sandboxes of one that they forbid."""
_LOG = logging.getLogger("slimrank")


class Child(Protocol):
    """A process of which the supervisor is the parent, however it was started."""

    @property
    def pid(self) -> int:
        """Its process id."""

    async def wait(self) -> int:
        """Its exit code, once it has ended; less than 0: ended by that signal."""

    def send_signal(self, signal: int, /) -> None:
        """Send it a signal. Raises ProcessLookupError when it has ended."""


class ForkedWorker:
    """A worker that the warm parent has forked, and that is the supervisor's child by now; to be waited for once."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._handle = os.pidfd_open(pid)
        except OSError:  # nobody could wait for it
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._reaped = False

    async def wait(self) -> int:
        """Its exit code, once it has ended; less than 0: ended by that signal."""
        await _until_readable(self._handle)
        _, status = os.waitpid(self.pid, 0)  # noqa: ASYNC222  (it has ended)
        self._reaped = True
        os.close(self._handle)
        return os.waitstatus_to_exitcode(status)

    def send_signal(self, signal: int, /) -> None:
        """Send it a signal. Raises ProcessLookupError when it has ended."""
        if self._reaped:
            raise ProcessLookupError
        os.kill(self.pid, signal)


class NoFork(Exception):
    """Workers cannot be forked: libraries have begun threads in the warm parent, or nobody could wait for its forks."""


class WarmParent:
    """Starts the warm parent when the first worker is wanted, and again when one is wanted and it has died.

    `command` is a worker's command line, to which `--orders <descriptor>` is added. One that has not reported after
    `patience_seconds` is killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        starter: ChildStarter,
        patience_seconds: float = 60.0,
    ) -> None:
        self._command = command
        self._environment = environment
        self._starter = starter
        self._patience_seconds = patience_seconds
        self._process: Process | None = None
        self._orders: socket.socket | None = None
        self._ends = False
        self._refused: NoFork | None = None
        self._one_at_a_time = asyncio.Lock()

    async def fork(self, listener: socket.socket) -> ForkedWorker:
        """A new worker that serves from `listener`, which stays ours to close. Raises NoFork, and OSError."""
        async with self._one_at_a_time:
            if self._refused is None and not _has_pidfd():
                self._refused = NoFork("this kernel, or this Python, has no pidfd_open")
            if self._refused is not None:
                raise self._refused
            what, _, value = (await self._report_of_fork(listener)).partition(" ")
            if what == "threads":
                self._refused = NoFork(f"{value} threads run in the warm parent")
                raise self._refused
        if what == "worker":
            return ForkedWorker(int(value))
        raise OSError(value or "the warm parent, or the worker that it forked, ended too early")

    def kill(self) -> None:
        """End it at once, for good; it holds nothing that could be lost. Workers go on."""
        self._ends = True
        self._kill_process()

    async def end(self) -> None:
        """End it for good, and wait until it has ended."""
        self.kill()
        await self._clear()

    async def _report_of_fork(self, listener: socket.socket) -> str:
        inbox, outbox = os.pipe()
        with adopting_orphans():
            try:
                try:
                    await self._order(listener, outbox)
                finally:
                    os.close(outbox)
                # The writing end is in the order now: should all who have it die, this reads an end of file.
                async with asyncio.timeout(self._patience_seconds):
                    await _until_readable(inbox)
                return os.read(inbox, _LONGEST_REPORT_BYTES).decode()
            except TimeoutError:
                self._kill_process()
                await self._clear()
                raise OSError("the warm parent does not answer; another one takes its place") from None
            finally:
                os.close(inbox)

    def _kill_process(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _order(self, listener: socket.socket, outbox: int) -> None:
        self._check_that_service_goes_on()
        if self._orders is not None and _sent(self._orders, listener, outbox):
            return
        if self._process is not None:
            _LOG.warning("the warm parent has ended; another one takes its place")
            await self._clear()
        orders = await self._launch()
        if not _sent(orders, listener, outbox):
            raise OSError("the warm parent ended at its start")

    def _check_that_service_goes_on(self) -> None:
        if self._ends:
            raise OSError("the service ends")

    async def _launch(self) -> socket.socket:
        self._check_that_service_goes_on()
        self._orders, theirs = socket.socketpair()
        with theirs:
            command = (*self._command, "--orders", str(theirs.fileno()))
            self._process = await self._starter.start(command, self._environment, pass_fds=[theirs.fileno()])
        if self._ends:
            self.kill()
        return self._orders

    async def _clear(self) -> None:
        """Forget one that has ended, or is about to: without orders it ends by itself."""
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        if self._process is not None:
            await self._process.wait()
            self._process = None


def _has_pidfd() -> bool:
    """Whether this Python and this kernel can tell of the end of a child that they did not start."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except AttributeError:
        return False
    except OSError as error:
        return error.errno not in _NOT_HERE
    return True


def _sent(orders: socket.socket, listener: socket.socket, outbox: int) -> bool:
    try:
        socket.send_fds(orders, [b"f"], [listener.fileno(), outbox])
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


async def _until_readable(descriptor: int) -> None:
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
