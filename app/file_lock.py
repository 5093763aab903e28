"""A file's lock, not waited for without end: anybody who may read the file can hold it."""

import errno
import fcntl
import time
from typing import IO

_SECONDS = 120.0
"""Longer than a writer needs that compares an artifact of gigabytes meanwhile."""
_PAUSE_SECONDS = 0.01


def lock_soon(file: IO[str], seconds: float = _SECONDS) -> None:
    """Take the lock, which the kernel frees when the file is closed. Raises OSError when others hold it for so long."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise OSError(errno.EBUSY, f"another process has held its lock for {seconds:g} s") from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return
