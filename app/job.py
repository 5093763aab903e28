"""One job of the queue: how it stands, and the changes of its row in the queue's file.

Every function here runs inside the one transaction of its caller.
"""

import sqlite3
import time
from typing import Any, Literal

import msgspec

from app.errors import Conflict, UnknownJob

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINISHED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
MAX_FINISHED = 1000
MAX_ATTEMPTS = 3
MAX_LOG_LINES = 200
MAX_LINE_CHARACTERS = 2000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One compression job as it stands."""

    id: str
    model: str
    state: State
    recipes: list[str] | None
    """Names of the card's recipes; None for all of them."""
    recipe: dict[str, Any] | None
    """A recipe that the card does not have."""
    force: bool
    step: str
    progress: float
    """Fraction done, 0 to 1."""
    log: list[str]
    """The last lines, at most MAX_LOG_LINES."""
    result: dict[str, Any] | None
    error: str | None
    attempts: int
    cancel_requested: bool
    created_unix_seconds: float
    started_unix_seconds: float | None
    """Start of the latest attempt."""
    finished_unix_seconds: float | None


class JobCancelled(Exception):
    """Tells the work that its job is not wanted any more. Not a ServiceError: a failed step must not swallow it."""


def requeue(db: sqlite3.Connection, job: Job, *, blameless: bool) -> Job:
    """What becomes of a running job whose compressor is gone; see JobQueue.requeue_abandoned."""
    if job.cancel_requested:
        return finish(db, job, "cancelled")
    waiting = {"state": "queued", "claimer": None, "step": "", "progress": 0.0}
    if blameless:
        return update(db, job.id, **waiting, attempts=job.attempts - 1)
    line = f"the compressor died at: {job.step}"
    if job.attempts >= MAX_ATTEMPTS:
        return finish(db, job, "failed", error=f"given up after {job.attempts} attempts: {line}")
    return update(db, job.id, **waiting, log=extended(job.log, f"{line}; trying again"))


def finish(db: sqlite3.Connection, job: Job, state: State, **changes: Any) -> Job:
    """Mark as finished, keep the totals, and forget the oldest finished jobs."""
    moment = now()
    seconds = (
        moment - job.started_unix_seconds if job.state == "running" and job.started_unix_seconds else 0.0
    )
    db.execute(
        "INSERT INTO totals VALUES (?, 1, ?) "
        "ON CONFLICT (state) DO UPDATE SET number = number + 1, seconds = seconds + excluded.seconds",
        (state, max(0.0, seconds)),
    )
    finished = update(db, job.id, state=state, finished=moment, claimer=None, **changes)
    db.execute(
        "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE finished IS NOT NULL "
        "ORDER BY finished DESC, number DESC LIMIT -1 OFFSET ?)",
        (MAX_FINISHED,),
    )
    return finished


def update(db: sqlite3.Connection, identity: str, **changes: Any) -> Job:
    """Set columns of the job's row."""
    # Column names are this module's own keywords; every value is bound.
    columns = ", ".join(f"{name} = ?" for name in changes)
    db.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*changes.values(), identity))  # noqa: S608
    return read_job(db, identity)


def read_job(db: sqlite3.Connection, identity: str) -> Job:
    """The job of that id. Raises UnknownJob."""
    row = db.execute("SELECT * FROM jobs WHERE id = ?", (identity,)).fetchone()
    if row is None:
        raise UnknownJob(f"there is no job {identity[:100]!r}", job=identity[:100])
    return from_row(row)


def read_running(db: sqlite3.Connection) -> list[Job]:
    """The jobs marked as running, oldest first."""
    return [from_row(row) for row in db.execute("SELECT * FROM jobs WHERE state = 'running' ORDER BY number")]


def read_running_job(db: sqlite3.Connection, identity: str) -> Job:
    """The job of that id. Raises UnknownJob, and Conflict when it is not running."""
    job = read_job(db, identity)
    if job.state != "running":
        raise Conflict(f"job {identity} is {job.state}, not running", state=job.state)
    return job


def from_row(row: sqlite3.Row) -> Job:
    """A row of the table, decoded."""
    model, recipes, recipe, force = msgspec.json.decode(row["request"])
    return Job(
        id=row["id"],
        model=model,
        state=row["state"],
        recipes=recipes,
        recipe=recipe,
        force=force,
        step=row["step"],
        progress=row["progress"],
        log=msgspec.json.decode(row["log"]),
        result=msgspec.json.decode(row["result"]) if row["result"] else None,
        error=row["error"],
        attempts=row["attempts"],
        cancel_requested=bool(row["cancel_requested"]),
        created_unix_seconds=row["created"],
        started_unix_seconds=row["started"],
        finished_unix_seconds=row["finished"],
    )


def extended(log: list[str], line: str) -> str:
    """The log with one more line, bounded, as JSON."""
    lines = [*log, line[:MAX_LINE_CHARACTERS]][-MAX_LOG_LINES:]
    return msgspec.json.encode(lines).decode()


def now() -> float:
    """Seconds since 1970, to the millisecond."""
    return round(time.time(), 3)
