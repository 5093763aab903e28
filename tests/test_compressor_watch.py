"""The watch over the compressor: retries, time limits, jobs that will not stop, and a queue that cannot be used."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from app.compressor_watch import CompressorWatch
from app.jobs import QUEUE_FILE, Job
from app.lifeline import ChildStarter
from app.settings import Settings

from tests.locked import has_open, locked
from tests.processes import PROGRAMS, WAIT_SECONDS, alive, eventually

PROGRAM = (sys.executable, str(PROGRAMS / "small_compressor.py"))


def settings_of(folder: Path, **more: float) -> Settings:
    return Settings(store=folder, models=folder / "models", **more)


async def until(check: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not check():  # noqa: ASYNC110  (what is waited for is in another process)
            await asyncio.sleep(0.02)
    assert check(), what


async def watched(watch: CompressorWatch, job: Job, during: Callable[[], None] | None = None) -> Job:
    """Let the watch work until the job has ended; `during` is called when the job is under way."""
    stop = asyncio.Event()
    working = asyncio.create_task(watch.run(stop))
    if during:
        await until(lambda: watch.queue.get(job.id).step in {"begun", "waiting"}, "the job is under way")
        during()
    await until(lambda: watch.queue.get(job.id).finished_unix_seconds, "the job has ended")
    stop.set()
    await asyncio.wait_for(working, WAIT_SECONDS)
    assert watch.process is None
    return watch.queue.get(job.id)


def make(settings: Settings, cancel_grace_seconds: float = 0.1) -> CompressorWatch:
    return CompressorWatch(settings, PROGRAM, ChildStarter(), cancel_grace_seconds)


def test_a_compressor_that_died_is_started_again(tmp_path: Path) -> None:
    async def scenario() -> Job:
        watch = make(settings_of(tmp_path))
        return await watched(watch, watch.queue.submit("deadly-once"))

    after = asyncio.run(scenario())
    assert (after.state, after.result) == ("succeeded", {"attempt": 2})
    assert after.log == ["begun", "the compressor died at: begun; trying again", "begun"]


def test_a_job_at_its_time_limit_is_failed_and_its_whole_process_group_killed(tmp_path: Path) -> None:
    told = tmp_path / "child"

    async def scenario() -> Job:
        watch = make(settings_of(tmp_path))

        def limit() -> None:
            """Once the compressor has its child: a limit that is there before may be over sooner."""
            eventually(lambda: told.exists() and told.read_text(), "the compressor's child")
            watch.settings = settings_of(tmp_path, job_timeout_seconds=0.2)

        return await watched(watch, watch.queue.submit("stubborn-with-a-child"), limit)

    after = asyncio.run(scenario())
    assert after.state == "failed"
    assert after.error == "stopped at the time limit of 0.2 s (SLIMRANK_JOB_TIMEOUT_SECONDS), at: begun"
    # Only the compressor itself is waited for; the kernel ends the others in its own time.
    child = int(told.read_text())
    eventually(lambda: not alive(child), "the end of the compressor's child")


def test_a_cancelled_job_that_does_not_stop_is_stopped_by_force(tmp_path: Path) -> None:
    async def scenario() -> Job:
        watch = make(settings_of(tmp_path))
        job = watch.queue.submit("stubborn")
        return await watched(watch, job, lambda: watch.queue.cancel(job.id) and None)

    after = asyncio.run(scenario())
    assert (after.state, after.attempts) == ("cancelled", 1)


def test_the_next_job_runs_after_one_was_stopped_by_force(tmp_path: Path) -> None:
    async def scenario() -> tuple[Job, Job]:
        watch = make(settings_of(tmp_path))
        first, second = watch.queue.submit("stubborn"), watch.queue.submit("quick")
        working = asyncio.create_task(watched(watch, second))
        await until(lambda: watch.queue.get(first.id).step == "begun", "the first job is under way")
        # By its time limit, which the second one, on a slow machine, need not keep.
        watch.settings = settings_of(tmp_path, job_timeout_seconds=0.2)
        await until(lambda: watch.queue.get(first.id).finished_unix_seconds, "the first job has ended")
        watch.settings = settings_of(tmp_path)
        return watch.queue.get(first.id), await working

    first, second = asyncio.run(scenario())
    assert (first.state, second.state) == ("failed", "succeeded")


def test_a_killed_compressor_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> Job:
        watch = make(settings_of(tmp_path))
        job = watch.queue.submit("waits")

        def kill_and_release() -> None:
            assert watch.process is not None
            os.kill(watch.process.pid, signal.SIGKILL)
            (tmp_path / "release").touch()

        return await watched(watch, job, kill_and_release)

    after = asyncio.run(scenario())
    assert after.state == "succeeded"


def test_a_line_too_long_to_show_does_not_stop_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> Job:
        watch = make(settings_of(tmp_path))
        return await watched(watch, watch.queue.submit("chats"))

    with caplog.at_level(logging.INFO, "slimrank"):
        after = asyncio.run(scenario())
    assert after.state == "succeeded"
    assert "compressor: (a line too long to show)" in caplog.messages
    assert f"compressor: job {after.id} (chats): succeeded" in caplog.messages


def test_a_queue_that_cannot_be_used_is_said_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / QUEUE_FILE).write_text("somebody's notes")

    async def scenario() -> None:
        stop = asyncio.Event()
        working = asyncio.create_task(make(settings_of(tmp_path)).run(stop))
        await until(lambda: any("not a job queue" in one for one in caplog.messages), "it is said")
        stop.set()
        await asyncio.wait_for(working, WAIT_SECONDS)

    asyncio.run(scenario())


def spoil(store: Path) -> None:
    for file in store.glob(f"{QUEUE_FILE}*"):
        file.unlink()
    (store / QUEUE_FILE).write_text("somebody's notes")


def test_a_queue_that_breaks_does_not_end_the_running_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        stop = asyncio.Event()
        watch = make(settings_of(tmp_path))
        job = watch.queue.submit("stubborn")
        working = asyncio.create_task(watch.run(stop))
        await until(lambda: watch.queue.get(job.id).step == "begun", "the job is under way")
        assert watch.process is not None
        compressor = watch.process.pid
        spoil(tmp_path)
        await until(lambda: any("not a job queue" in one for one in caplog.messages), "it is said")
        assert alive(compressor)
        stop.set()
        await until(working.done, "the end")
        assert not alive(compressor)

    asyncio.run(scenario())


@pytest.mark.parametrize("moment", ["the start", "no job", "a job", "the end of a job"])
def test_a_queue_that_others_hold_does_not_hold_the_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    """It is the loop that has it set free: were the loop held, the watch would wait in vain, and say so."""

    def said(what: str) -> bool:
        return any(what in one for one in caplog.messages)

    card = tmp_path / "models" / "wrong" / "model.toml"
    card.parent.mkdir(parents=True)
    card.write_text("a sign that the watch has come to its turns")

    async def scenario() -> None:
        stop, watch = asyncio.Event(), make(settings_of(tmp_path))
        watch.queue.counts()
        job = watch.queue.submit("stubborn") if moment.endswith("a job") else None
        working = None if moment == "the start" else asyncio.create_task(watch.run(stop))
        if job:
            await until(lambda: watch.queue.get(job.id).step == "begun", "the job is under way")
        elif working:
            await until(lambda: said("was not queued"), "the watch looks for jobs")
        with locked(watch.queue.path):
            working = working or asyncio.create_task(watch.run(stop))
            if moment == "the end of a job":
                stop.set()
            await until(lambda: has_open(os.getpid(), watch.queue.path) or said("busy"), "the watch waits")
        stop.set()
        await asyncio.wait_for(working, WAIT_SECONDS)
        assert not said("busy")

    asyncio.run(scenario())
