"""The compressor as a process of its own, around small real work."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from app.compression.compressor import LOCK_TAKEN
from app.jobs import MAX_ATTEMPTS, MAX_LOG_LINES, QUEUE_FILE, JobQueue
from app.store import ACTIVE_FILE

from tests.processes import PROGRAMS, WAIT_SECONDS, alive, environment, eventually

COMMAND = [sys.executable, str(PROGRAMS / "small_compressor.py")]


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(tmp_path / QUEUE_FILE)


def start(queue: JobQueue, *arguments: str, **settings: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(store=queue.path.parent, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(queue: JobQueue, **settings: object) -> tuple[int, str]:
    """Run a compressor until it ends: its exit code and what it said."""
    process = start(queue, **settings)
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    return process.returncode, said


@pytest.fixture
def waiting(queue: JobQueue) -> Iterator["subprocess.Popen[str]"]:
    """A compressor in the middle of a job that ends when `release` appears."""
    queue.submit("waits")
    process = start(queue)
    eventually(lambda: queue.jobs()[0].step == "waiting", "the job runs")
    yield process
    process.kill()
    process.communicate(timeout=WAIT_SECONDS)


def test_it_runs_everything_that_waits_and_ends(queue: JobQueue) -> None:
    jobs = [queue.submit("quick"), queue.submit("quick", force=True)]
    code, said = run(queue)
    assert code == 0
    assert [queue.get(job.id).state for job in jobs] == ["succeeded", "succeeded"]
    assert queue.get(jobs[0].id).result == {"attempt": 1}
    assert f"job {jobs[0].id} (quick): succeeded" in said


@pytest.mark.parametrize("wanted", [True, False])
def test_once_something_is_served_a_job_has_what_nothing_else_wants_of_the_cores(
    queue: JobQueue, wanted: bool
) -> None:
    found = []
    for served in (False, True):
        if served:
            (queue.path.parent / "a-model").mkdir()
            (queue.path.parent / "a-model" / ACTIVE_FILE).write_text("{}")
        job = queue.submit("schedules")
        assert run(queue, compressor_idle=wanted)[0] == 0
        found.append(queue.get(job.id).result)
    assert found == [{"idle": False}, {"idle": wanted}]


def test_failures_are_told_apart_and_do_not_stop_the_queue(queue: JobQueue) -> None:
    fails, breaks, exits, quick = (queue.submit(name) for name in ("fails", "breaks", "exits", "quick"))
    code, said = run(queue)
    assert code == 0
    assert queue.get(fails.id).error == "the step could not do its work"
    for job, name in ((breaks, "ZeroDivisionError"), (exits, "SystemExit")):
        after = queue.get(job.id)
        assert (after.state, after.error) == ("failed", f"internal error: {name}; the service's log has more")
    assert "ZeroDivisionError: a detail that clients must not see" in said
    assert queue.get(quick.id).state == "succeeded"


def test_a_killed_compressor_leaves_its_job_to_the_next(
    queue: JobQueue, waiting: "subprocess.Popen[str]"
) -> None:
    waiting.kill()
    waiting.wait(WAIT_SECONDS)
    (job,) = queue.running()
    (queue.path.parent / "release").touch()
    assert run(queue)[0] == 0
    after = queue.get(job.id)
    assert (after.state, after.result) == ("succeeded", {"attempt": 2})


def test_a_job_that_kills_its_compressor_is_given_up(queue: JobQueue) -> None:
    job, quick = queue.submit("deadly"), queue.submit("quick")
    codes = [run(queue)[0] for _ in range(MAX_ATTEMPTS + 1)]
    assert codes == [-signal.SIGKILL] * MAX_ATTEMPTS + [0]
    after = queue.get(job.id)
    assert (after.state, after.error) == (
        "failed",
        "given up after 3 attempts: the compressor died at: begun",
    )
    assert queue.get(quick.id).state == "succeeded"


def test_a_second_compressor_of_the_same_store_does_nothing(
    queue: JobQueue, waiting: "subprocess.Popen[str]"
) -> None:
    quick = queue.submit("quick")
    assert run(queue) == (LOCK_TAKEN, "")
    assert queue.get(quick.id).state == "queued"
    (job,) = queue.running()
    assert alive(waiting.pid)
    (queue.path.parent / "release").touch()
    assert waiting.wait(WAIT_SECONDS) == 0
    assert queue.get(job.id).attempts == 1


def test_a_cancelled_job_stops_at_its_next_report(queue: JobQueue, waiting: "subprocess.Popen[str]") -> None:
    (job,) = queue.running()
    queue.cancel(job.id)
    assert waiting.wait(WAIT_SECONDS) == 0
    assert queue.get(job.id).state == "cancelled"


def test_a_job_that_was_ended_from_outside_is_left_as_it_is(
    queue: JobQueue, waiting: "subprocess.Popen[str]"
) -> None:
    (job,) = queue.running()
    queue.fail(job.id, "it took too long")
    assert waiting.wait(WAIT_SECONDS) == 0
    after = queue.get(job.id)
    assert (after.state, after.error) == ("failed", "it took too long")


def test_steps_are_logged_and_the_log_is_bounded(queue: JobQueue) -> None:
    job = queue.submit("chats")
    _, said = run(queue)
    assert queue.get(job.id).log == [f"step {number}" for number in range(300)][-MAX_LOG_LINES:]
    assert f"job {job.id} (chats):  50% step 150" in said


def test_it_does_not_start_when_its_parent_is_another(queue: JobQueue) -> None:
    job = queue.submit("quick")
    process = start(queue, "--parent", str(os.getppid()))
    said, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert "the supervisor ended" in said
    assert queue.get(job.id).state == "queued"


def test_the_real_work_is_the_pipeline(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit("nobody")
    process = subprocess.Popen(
        [sys.executable, "-m", "app.compression.compressor"],
        env=environment(store=tmp_path, models=tmp_path / "models"),
    )
    assert process.wait(WAIT_SECONDS) == 0
    after = queue.get(job.id)
    assert (after.state, after.error) == ("failed", "there is no model 'nobody'")


def test_a_queue_that_cannot_be_used_is_one_line_and_no_traceback(queue: JobQueue) -> None:
    queue.path.write_bytes(b"not a queue" * 1000)
    code, said = run(queue)
    assert code == 1
    assert said == (
        "the compressor ends: the job queue's file is damaged or not a job queue; move it out of the store\n"
    )
