"""The supervisor: one process in the foreground that keeps workers serving and jobs running, and leaves nothing behind.

    supervisor --+-- worker 1..N      serve HTTP from the one inherited socket; restarted when they die
                 |-- warm parent      of several workers only, which are forked from it; see app/warm_parent.py
                 `-- compressor       only while jobs wait; see app/compressor_watch.py

SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal was closed) drain and end with code 0; a second one ends at once, with
code 1. Should the supervisor itself be killed, the kernel ends its children.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import multiprocess

from app.backoff import Backoff
from app.compressor_watch import CompressorWatch, pause_or_stop
from app.lifeline import ChildStarter, environment_of
from app.scratch import Scratch
from app.settings import Settings
from app.warm_parent import Child, NoFork, WarmParent

# What a worker may take to close up after its drain, before it is killed.
_KILL_AFTER_DRAIN_SECONDS = 3.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_IN_MEMORY = Path("/dev/shm")  # noqa: S108  (the folder in it is made by mkdtemp)
_LOG = logging.getLogger("slimrank")


@dataclass(frozen=True)
class Programs:
    """The command lines of the two kinds of children, without the arguments that the supervisor adds."""

    worker: Sequence[str] = (sys.executable, "-P", "-m", "app.api.worker")
    compressor: Sequence[str] = (sys.executable, "-P", "-m", "app.compression.compressor")


# Workers give and take blocks of megabytes with every run. By default malloc maps such blocks anew each time, and the
# kernel clears every page; with these it keeps them for the next run, of whichever session. An operator's own win.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(64 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024),
    "MALLOC_ARENA_MAX": "2",
}
# A worker leaves nothing to BLAS, whose threads would begin with the import of numpy: see app/forking.py.
_THREADS = {"OPENBLAS_NUM_THREADS": "1"}


class Supervisor:
    """Serves from `listener`, which it closes when it begins to end."""

    def __init__(self, settings: Settings, listener: socket.socket, programs: Programs | None = None) -> None:
        self.settings = settings
        self.listener = listener
        self.programs = programs or Programs()
        self.exit_code = 0
        self._stop = asyncio.Event()
        self._workers: set[Child] = set()
        self._starter = ChildStarter()
        self._watch = CompressorWatch(settings, self.programs.compressor, self._starter)
        self._metrics: Scratch  # where workers count, while the service runs
        self._warm_parent: WarmParent | None = None

    async def run(self) -> int:
        """Serve until a signal comes; gives the exit code. Must run in the main thread: see `end_with_parent`."""
        loop = asyncio.get_running_loop()
        for one in _STOP_SIGNALS:
            loop.add_signal_handler(one, self._on_signal, one)
        with closing(Scratch(_metrics_home(), "slimrank-metrics-")) as self._metrics:
            if self.settings.workers > 1:  # one alone has nobody to share with
                self._warm_parent = WarmParent(
                    self.programs.worker, self._worker_environment(), self._starter
                )
            tasks = [self._keep_worker(n + 1) for n in range(self.settings.workers)]
            if self.settings.compressor:
                tasks.append(self._watch.run(self._stop))
            try:
                await asyncio.gather(*tasks)
            finally:
                self._kill_all()
                if self._warm_parent is not None:
                    await self._warm_parent.end()
        return self.exit_code

    def _on_signal(self, received: signal.Signals) -> None:
        if not self._stop.is_set():
            _LOG.info("%s: ending; requests under way may finish", received.name)
            self._begin_end()
        else:
            _LOG.warning("%s again: ending at once", received.name)
            self.exit_code = 1
            self._kill_all()

    def _begin_end(self) -> None:
        # Workers close theirs when they drain; with ours closed too, the kernel refuses new connections.
        self.listener.close()
        self._stop.set()
        if self._warm_parent is not None:
            self._warm_parent.kill()

    async def _keep_worker(self, number: int) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                code = await self._run_worker()
            except OSError as error:
                if self._stop.is_set():
                    return
                # For want of memory, for example. The other workers go on.
                _LOG.error("worker %d: %s", number, error)
                code = os.EX_OSERR
            if self._stop.is_set():
                return
            if code == os.EX_CONFIG:
                # The worker has said what is wrong; to start it again would not help.
                self.exit_code = 2
                self._begin_end()
                return
            pause = backoff.seconds_after(time.monotonic() - started)
            _LOG.warning("worker %d ended %s; next start in %.0f s", number, _ending(code), pause)
            await pause_or_stop(self._stop, pause)

    async def _run_worker(self) -> int:
        """One life of a worker, drained at the stop; gives its exit code."""
        process = await self._start_worker()
        self._workers.add(process)
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            _send(process, signal.SIGTERM)
            longest = self.settings.drain_seconds + _KILL_AFTER_DRAIN_SECONDS
            await asyncio.wait([ended], timeout=longest)
        if not ended.done():
            _LOG.warning("worker of pid %d did not end in %.0f s and is killed", process.pid, longest)
            _send(process, signal.SIGKILL)
        code = await ended
        self._workers.discard(process)
        multiprocess.mark_process_dead(process.pid, str(self._metrics.path))  # type: ignore[no-untyped-call]
        return code

    async def _start_worker(self) -> Child:
        if self._metrics.make_again():  # without it no worker starts
            _LOG.warning(
                "%s was removed, and is made again; what other workers counted is not told until they start again",
                self._metrics.path,
            )
        # A copy, as ours may be closed while this start waits for its turn.
        with self.listener.dup() as inherited:
            warm_parent = self._warm_parent
            if warm_parent is not None:
                try:
                    return await warm_parent.fork(inherited)
                except NoFork as error:
                    if self._warm_parent is not None:
                        _LOG.warning("%s: each worker starts on its own, and shares less memory", error)
                        self._warm_parent = None
                    await warm_parent.end()
            command = (*self.programs.worker, "--socket", str(inherited.fileno()))
            environment = self._worker_environment()
            return await self._starter.start(command, environment, pass_fds=[inherited.fileno()])

    def _worker_environment(self) -> dict[str, str]:
        environment = _MALLOC | _THREADS | environment_of(self.settings, with_secrets=True)
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(self._metrics.path)
        return environment

    def _kill_all(self) -> None:
        for process in self._workers:
            _send(process, signal.SIGKILL)
        if self._warm_parent is not None:
            self._warm_parent.kill()
        self._watch.kill()


def _metrics_home() -> Path:
    """Where the files are that workers count in: in memory, else with other temporary files.

    They are mapped, and a page of them for which a full disk has no room would end the worker by SIGBUS, and every one
    that is started in its place.
    """
    return _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def _send(process: Child, what: signal.Signals) -> None:
    # It may have ended by itself in this very moment.
    with suppress(ProcessLookupError):
        process.send_signal(what)


def _ending(code: int) -> str:
    if code >= 0:
        return f"with code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name
        return f"by signal {-code}"
