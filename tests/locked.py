"""A job queue that another process holds, and who waits for it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Under the usual lock others may still read; under this one they may not.
_HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=240, isolation_level=None)
db.execute("PRAGMA locking_mode = EXCLUSIVE")
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(queue: Path) -> Iterator[None]:
    """Nobody else can read or write this queue, which is there, until the block ends."""
    command = [sys.executable, "-c", _HOLD, str(queue)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield  # the end of its input ends it


def has_open(pid: int, path: Path) -> bool:
    """Whether the process has the file open: with a queue that is held, it waits for it."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(descriptor) == str(path):  # noqa: PTH115  (no path)
                return True
        except FileNotFoundError:  # closed meanwhile
            continue
    return False
