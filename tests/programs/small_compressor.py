"""The real compressor around small work: a job's model name says what becomes of it."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from app.compression.compressor import Progress, main
from app.errors import CompressionFailed
from app.jobs import Job
from app.settings import Settings


def work(settings: Settings, job: Job, progress: Progress) -> dict[str, Any]:
    """Do what the model's name says."""
    progress(0.0, "begun")
    return WORKS[job.model](settings.store, job, progress)


def quick(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    return {"attempt": job.attempts}


def waits(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    while not (folder / "release").exists():
        progress(0.5, "waiting")
        time.sleep(0.02)
    return {"attempt": job.attempts}


def stubborn(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    while True:
        time.sleep(0.02)


def stubborn_with_a_child(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        time.sleep(3600)
    (folder / "child").write_text(str(pid))
    return stubborn(folder, job, progress)


def deadly(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def deadly_once(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    return deadly(folder, job, progress) if job.attempts == 1 else quick(folder, job, progress)


def fails(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    raise CompressionFailed("the step could not do its work")


def breaks(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    raise ZeroDivisionError("a detail that clients must not see")


def exits(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    sys.exit(3)


def tells(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    secrets = [name for name in os.environ if "ADMIN" in name]
    return {"niceness": os.nice(0), "threads": os.environ["OMP_NUM_THREADS"], "secrets": secrets}


def schedules(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    return {"idle": os.sched_getscheduler(0) == os.SCHED_IDLE}


def chats(folder: Path, job: Job, progress: Progress) -> dict[str, Any]:
    for step in range(300):
        progress(step / 300, f"step {step}")
    print("x" * 3_000_000)
    return {}


WORKS = {
    work.__name__.replace("_", "-"): work
    for work in (
        quick,
        schedules,
        waits,
        stubborn,
        stubborn_with_a_child,
        deadly,
        deadly_once,
        fails,
        breaks,
        exits,
        tells,
        chats,
    )
}


if __name__ == "__main__":
    main(work)
