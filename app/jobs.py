"""The job queue: compression jobs in one SQLite file, shared by workers, the compressor and the command line.

    submit -> queued -> claim -> running -> succeeded | failed | cancelled
                 ^                  |
                 `-- requeue -------'   its compressor died, or the service was stopped

Every call is one short transaction on a connection of its own, so the queue is safe across threads and processes, and
a process may be killed at any point. Only one compressor lives at a time: it holds `compressor.lock`, and the kernel
frees that lock however it dies. So whoever holds the lock knows that a job marked as running has lost its compressor.
"""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from app.errors import Conflict, Overloaded
from app.job import (
    FINISHED,
    MAX_ATTEMPTS,
    MAX_LOG_LINES,
    Job,
    JobCancelled,
    State,
    extended,
    finish,
    from_row,
    now,
    read_job,
    read_running,
    read_running_job,
    requeue,
    update,
)
from app.jobs_file import connect, explained

__all__ = [
    "FINISHED",
    "MAX_ATTEMPTS",
    "MAX_LOG_LINES",
    "MAX_QUEUED",
    "QUEUE_FILE",
    "Job",
    "JobCancelled",
    "JobQueue",
    "State",
]

QUEUE_FILE = "jobs.sqlite"
LOCK_FILE = "compressor.lock"
MAX_QUEUED = 100
_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}


class JobQueue:
    """The queue in the file `path`, which is made on first use, with the compressor's lock beside it.

    Every method raises ConfigurationError when the file is not a queue of this service, Overloaded when it stays
    locked, and StoreUnavailable when it cannot be read or written (a full disk, for example).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def submit(
        self,
        model: str,
        *,
        recipes: list[str] | None = None,
        recipe: dict[str, Any] | None = None,
        force: bool = False,
    ) -> Job:
        """Queue a job; an equal one that still waits is given back instead. Raises Overloaded on a full queue."""
        request = msgspec.json.encode([model, recipes, recipe, force], order="sorted").decode()
        with connect(self.path) as db:
            waiting = db.execute("SELECT id, request FROM jobs WHERE state = 'queued'").fetchall()
            for row in waiting:
                if row["request"] == request:
                    return read_job(db, row["id"])
            if len(waiting) >= MAX_QUEUED:
                raise Overloaded(f"{MAX_QUEUED} jobs are waiting; cancel some, or try again later")
            identity = secrets.token_hex(4)
            db.execute(
                "INSERT INTO jobs (id, model, request, created) VALUES (?, ?, ?, ?)",
                (identity, model, request, now()),
            )
            return read_job(db, identity)

    def get(self, identity: str) -> Job:
        """The job of that id. Raises UnknownJob."""
        with connect(self.path, write=False) as db:
            return read_job(db, identity)

    def jobs(self, limit: int = 100) -> list[Job]:
        """The newest jobs, newest first."""
        with connect(self.path, write=False) as db:
            return [
                from_row(row)
                for row in db.execute("SELECT * FROM jobs ORDER BY number DESC LIMIT ?", (limit,))
            ]

    def running(self) -> list[Job]:
        """The jobs marked as running, oldest first: more than one only when compressors died."""
        with connect(self.path, write=False) as db:
            return read_running(db)

    def cancel(self, identity: str) -> Job:
        """Cancel a waiting job at once; ask a running one to stop, which shows as `cancel_requested`.

        Work that ends before it notices counts as it ended. Raises UnknownJob, and Conflict on a finished job.
        """
        with connect(self.path) as db:
            job = read_job(db, identity)
            if job.state in FINISHED:
                raise Conflict(f"job {identity} has already {_ENDED[job.state]}", state=job.state)
            if job.state == "queued":
                return finish(db, job, "cancelled")
            return update(db, identity, cancel_requested=1)

    def claim(self, claimer: str) -> Job | None:
        """Take the oldest waiting job and mark it as running; None when nothing waits."""
        with connect(self.path) as db:
            row = db.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1").fetchone()
            if row is None:
                return None
            return update(
                db,
                row["id"],
                state="running",
                claimer=claimer,
                attempts=row["attempts"] + 1,
                started=now(),
                step="starting",
                progress=0.0,
            )

    def progress(self, identity: str, step: str, fraction: float, message: str | None = None) -> None:
        """Say how far a running job is. Raises JobCancelled when it should stop, or is not running any more."""
        with connect(self.path) as db:
            job = read_job(db, identity)
            if job.state != "running" or job.cancel_requested:
                raise JobCancelled(identity)
            changes: dict[str, Any] = {"step": step, "progress": min(max(fraction, 0.0), 1.0)}
            if message is not None:
                changes["log"] = extended(job.log, message)
            update(db, identity, **changes)

    def succeed(self, identity: str, result: dict[str, Any]) -> Job:
        """End a running job well. Raises Conflict when it is not running."""
        with connect(self.path) as db:
            text = msgspec.json.encode(result).decode()
            return finish(
                db, read_running_job(db, identity), "succeeded", result=text, progress=1.0, step="done"
            )

    def fail(self, identity: str, error: str) -> Job:
        """End a running job with an error. Raises Conflict when it is not running."""
        with connect(self.path) as db:
            return finish(db, read_running_job(db, identity), "failed", error=error)

    def stopped(self, identity: str) -> Job:
        """End a running job whose work has stopped because it was cancelled. Raises Conflict when it is not running."""
        with connect(self.path) as db:
            return finish(db, read_running_job(db, identity), "cancelled")

    def requeue_abandoned(self, *, blameless: bool = False) -> list[Job]:
        """Deal with running jobs whose compressor is gone; only for the holder of the compressor's lock.

        They wait again, keeping their place, or have failed after MAX_ATTEMPTS, or are cancelled where someone asked.
        `blameless`: the compressor was stopped on purpose, so that the attempt does not count.
        """
        with connect(self.path) as db:
            return [requeue(db, job, blameless=blameless) for job in read_running(db)]

    def counts(self) -> dict[str, int]:
        """Jobs in the file, by state."""
        with connect(self.path, write=False) as db:
            found = dict(db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in ("queued", "running", *FINISHED)}

    def durations(self) -> dict[str, tuple[int, float]]:
        """By final state, the number of jobs that ever ended so and the seconds their last attempts took in all."""
        with connect(self.path, write=False) as db:
            found = {
                row["state"]: (row["number"], row["seconds"]) for row in db.execute("SELECT * FROM totals")
            }
        return {state: found.get(state, (0, 0.0)) for state in FINISHED}

    @contextmanager
    def sole_compressor(self) -> Iterator[bool]:
        """Hold the compressor's lock; gives False, without waiting, when another living process has it."""
        with explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = (self.path.parent / LOCK_FILE).open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
