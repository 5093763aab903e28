"""Locks that others may hold: waited for, but not without end."""

import fcntl
import threading
import time
from pathlib import Path

import pytest
from app.file_lock import lock_soon


def test_a_free_lock_is_taken_and_one_that_is_held_is_given_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        lock_soon(first)
        with pytest.raises(OSError, match=r"another process has held its lock for 0\.05 s"):
            lock_soon(second, 0.05)


def test_a_lock_that_becomes_free_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)

        def free() -> None:
            time.sleep(0.1)
            fcntl.flock(first, fcntl.LOCK_UN)

        thread = threading.Thread(target=free)
        thread.start()
        lock_soon(second, 60)
        thread.join()
        with pytest.raises(BlockingIOError):
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
