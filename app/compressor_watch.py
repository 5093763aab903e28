"""Runs the compressor's process whenever a job waits, and ends it when a job overstays or would not stop."""

import asyncio
import logging
import os
import signal
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import suppress

from app.backoff import Backoff
from app.errors import ServiceError
from app.jobs import QUEUE_FILE, Job, JobQueue
from app.lifeline import ChildStarter, environment_of
from app.settings import Settings
from app.stale import submit_stale

TICK_SECONDS = 0.5
CANCEL_GRACE_SECONDS = 10.0
"""How long a job may take to notice that it was cancelled, before its process is killed."""
_RETRY_SECONDS = 5.0
_LINE_LIMIT_BYTES = 1024 * 1024
_CANNOT_BE_DONE = (ServiceError, OSError, RuntimeError)
"""The last is what Python raises where it cannot start a thread."""
_LOG = logging.getLogger("slimrank")


class CompressorWatch:
    """Watches one store's queue. `program` is the compressor's command line, without the parent's process id."""

    def __init__(
        self,
        settings: Settings,
        program: Sequence[str],
        starter: ChildStarter,
        cancel_grace_seconds: float = CANCEL_GRACE_SECONDS,
    ) -> None:
        self.settings = settings
        self.starter = starter
        self.cancel_grace_seconds = cancel_grace_seconds
        self.program = program
        self.queue = JobQueue(settings.store / QUEUE_FILE)
        self.process: Process | None = None
        self._seen: dict[tuple[str, str], float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then end the compressor; its job waits for the next start."""
        backoff = Backoff()
        await self._queue_stale()
        while not stop.is_set():
            try:
                if await asyncio.to_thread(self._has_work):
                    pause = await self._run_compressor(stop, backoff)
                else:
                    pause = TICK_SECONDS
            except _CANNOT_BE_DONE as error:
                # The queue cannot be used, or no process or thread be started. Serving does not need it, so it goes on.
                _LOG.error("compression waits: %s", error)
                pause = _RETRY_SECONDS
            await pause_or_stop(stop, pause)

    def kill(self) -> None:
        """End the compressor, and whatever it has started, at once."""
        process = self.process
        if process is not None:
            # It may have ended by itself in this very moment.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    async def _queue_stale(self) -> None:
        """Queue what is not up to date, behind the jobs that a dead compressor left."""
        try:
            # In threads: the queue may be locked by others for a while, and large files of models are hashed.
            await asyncio.to_thread(self._adopt)
            jobs = await asyncio.to_thread(submit_stale, self.settings, self.queue)
        except _CANNOT_BE_DONE as error:
            _LOG.error("what must be compressed again was not queued: %s", error)
            return
        for job in jobs:
            _LOG.info("job %s (%s): queued, as some variants are not up to date", job.id, job.model)

    def _has_work(self) -> bool:
        counts = self.queue.counts()
        return counts["queued"] + counts["running"] > 0

    def _adopt(self, *, blameless: bool = False) -> None:
        """Queue again what a dead compressor was doing."""
        with self.queue.sole_compressor() as alone:
            jobs = self.queue.requeue_abandoned(blameless=blameless) if alone else []
        for job in jobs:
            _LOG.warning("job %s (%s) lost its compressor; now %s", job.id, job.model, job.state)

    async def _run_compressor(self, stop: asyncio.Event, backoff: Backoff) -> float:
        """One life of the compressor; gives the seconds to wait before the next one."""
        started = time.monotonic()
        process = await self._start()
        relay = asyncio.create_task(_relay(process))
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(stop.wait())
        try:
            while not ended.done() and not stop.is_set():
                pause = await asyncio.to_thread(self._look_after_job)
                await asyncio.wait([ended, stopped], timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            stopped_by_us = not ended.done()
        finally:
            stopped.cancel()
            self.kill()
            code = await ended
            await relay
            self.process = None
            self._seen.clear()
        await asyncio.to_thread(self._adopt, blameless=stopped_by_us)
        if code == 0:
            return TICK_SECONDS
        if code == os.EX_TEMPFAIL:
            return _RETRY_SECONDS  # the compressor of another service works on this store
        pause = max(TICK_SECONDS, backoff.seconds_after(time.monotonic() - started))
        if not stopped_by_us:
            _LOG.warning("the compressor ended with code %d; next start in %.1f s", code, pause)
        return pause

    async def _start(self) -> Process:
        environment = environment_of(self.settings, with_secrets=False)
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        self.process = await self.starter.start(
            self.program,
            environment,
            stdout=PIPE,
            stderr=STDOUT,
            limit=_LINE_LIMIT_BYTES,
            process_group=0,  # a group of its own, so that a kill takes its children as well
        )
        return self.process

    def _look_after_job(self) -> float:
        """One look at the running job; gives the seconds until the next."""
        try:
            self._enforce()
        except ServiceError as error:
            # No reason to end a job that may be nearly done.
            _LOG.error("%s", error.message)
            return _RETRY_SECONDS
        return TICK_SECONDS

    def _enforce(self) -> None:
        """Kill the compressor when its job overstays, or was cancelled and does not stop.

        The job is marked first: then the dying process cannot end it in another way.
        """
        limit = self.settings.job_timeout_seconds
        for job in self.queue.running():
            running_seconds = self._seconds_since(job, "running")
            if job.cancel_requested and self._seconds_since(job, "cancelling") > self.cancel_grace_seconds:
                self.queue.stopped(job.id)
            elif running_seconds > limit:
                reason = f"stopped at the time limit of {limit:g} s (SLIMRANK_JOB_TIMEOUT_SECONDS)"
                self.queue.fail(job.id, f"{reason}, at: {job.step}")
            else:
                continue
            _LOG.warning("job %s (%s) is stopped by force", job.id, job.model)
            self.kill()

    def _seconds_since(self, job: Job, what: str) -> float:
        """Seconds since this watch first saw that of the job, by a clock that nobody sets."""
        now = time.monotonic()
        return now - self._seen.setdefault((job.id, what), now)


async def pause_or_stop(stop: asyncio.Event, seconds: float) -> None:
    """Wait that long, or until `stop` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _relay(process: Process) -> None:
    """Pass the compressor's lines on to the service's log."""
    assert process.stdout is not None
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:
            line = b"(a line too long to show)\n"
        if not line:
            return
        _LOG.info("compressor: %s", line.decode(errors="replace").rstrip())
