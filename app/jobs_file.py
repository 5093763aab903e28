"""The file of the job queue: its tables, how it comes to be, and what its failures mean to a person."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from app.errors import ConfigurationError, Overloaded, StoreUnavailable

SCHEMA_VERSION = 1
BUSY_TIMEOUT_SECONDS = 10.0
# "slmr": tells a job queue from any other SQLite file.
_APPLICATION_ID = 0x736C6D72
_TABLES = f"""
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    claimer TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    step TEXT NOT NULL DEFAULT '',
    progress REAL NOT NULL DEFAULT 0,
    log TEXT NOT NULL DEFAULT '[]',
    result TEXT,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL
);
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE INDEX jobs_by_finish ON jobs (finished);
CREATE TABLE totals (state TEXT PRIMARY KEY, number INTEGER NOT NULL, seconds REAL NOT NULL);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


@contextmanager
def connect(path: Path, *, write: bool = True) -> Iterator[sqlite3.Connection]:
    """One transaction on the queue in `path`, made if it is absent: kept at the end, undone on an exception.

    Without `write` it only reads, and neither waits for a writer nor holds one up.
    Raises ConfigurationError (not a job queue), Overloaded (locked for too long), StoreUnavailable (any other failure).
    """
    with explained():
        if not path.exists():
            _make(path)
        address = f"file:{quote(str(path))}?mode=rw"
        options = {"timeout": BUSY_TIMEOUT_SECONDS, "isolation_level": None, "uri": True}
        with closing(sqlite3.connect(address, **options)) as db:  # type: ignore[call-overload]
            db.row_factory = sqlite3.Row
            _check(db)
            db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")


def _make(path: Path) -> None:
    """Make the file aside and link it to its name, so that nobody ever opens half a queue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".jobs-") as folder:
        aside = Path(folder) / path.name
        with closing(sqlite3.connect(aside, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_TABLES)
        # Another process may have been faster: its queue is as good.
        with suppress(FileExistsError):
            os.link(aside, path)


def _check(db: sqlite3.Connection) -> None:
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION_ID:
        raise ConfigurationError("the job queue's file is not a job queue; move it out of the store")
    if version != SCHEMA_VERSION:
        raise ConfigurationError(
            f"the job queue has schema {version}, and this version of slimrank reads {SCHEMA_VERSION}; "
            "move its file out of the store to begin a new one"
        )


@contextmanager
def explained() -> Iterator[None]:
    """Turn the failures of SQLite and of the file system into errors that say what to do; see `connect`."""
    try:
        yield
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else None
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise Overloaded("the job queue is busy; try again later") from error
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise ConfigurationError(
                "the job queue's file is damaged or not a job queue; move it out of the store"
            ) from error
        raise StoreUnavailable(f"the job queue cannot be used: {error}") from error
    except OSError as error:
        raise StoreUnavailable(f"the job queue cannot be used: {error.strerror}") from error
