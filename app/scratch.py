"""Folders for work in progress that do not outlive their owner for long, however it dies.

The owner holds a lock on its folder, which the kernel frees with the process. Whoever makes the next folder removes
those whose locks are free.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path


class Scratch:
    """A new, empty folder in `parent`, its owner's until `close`; what dead owners left there is removed first."""

    def __init__(self, parent: Path, prefix: str = "") -> None:
        self._prefix = prefix
        _sweep(parent, prefix)
        self.path, self._lock = _locked_folder(parent, prefix)

    def make_again(self) -> bool:
        """Where somebody has removed the folder, another one takes its place and name; tells whether it did."""
        if self.path.is_dir():
            return False
        # Under a name of its own first: nobody who sweeps finds this one without its lock.
        folder, lock = _locked_folder(self.path.parent, self._prefix)
        try:
            folder.rename(self.path)
        except OSError:
            folder.rmdir()
            os.close(lock)
            raise
        os.close(self._lock)
        self._lock = lock
        return True

    def close(self) -> None:
        """Remove it, with what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


@contextmanager
def scratch_folder(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A new, empty folder in `parent`, gone at the end of the block; what dead owners left there is removed first."""
    with closing(Scratch(parent, prefix)) as scratch:
        yield scratch.path


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    """A folder and its lock. No lock of all is waited for, which anybody who may read `parent` could hold."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        with suppress(FileNotFoundError, BlockingIOError):  # somebody sweeps, and takes it for a dead owner's
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), folder.stat()):
                    return folder, lock
            except OSError:
                os.close(lock)
                raise
            os.close(lock)


def _sweep(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # its owner has just removed it, or is another user; or it is no folder
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its owner is alive
        finally:
            os.close(lock)
