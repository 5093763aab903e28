"""How many connections each worker holds, in memory that all forks of one process share.

Each worker has a place of its own there and writes to no other, so there is nothing to lock: whole numbers of 4 bytes
are written and read in one piece. What a worker reads of another may be a moment old.
"""

import mmap
import os

_PLACES = 512  # twice as many as there may be workers
_NOT_ACCEPTING = -1


class Place:
    """A worker's own place; made before the fork."""

    def __init__(self, numbers: memoryview, at: int) -> None:
        self._numbers = numbers
        self._at = at

    def take(self, pid: int) -> None:
        """From now on this is that process's; it does not accept connections yet."""
        self._numbers[2 * self._at + 1] = _NOT_ACCEPTING
        self._numbers[2 * self._at] = pid

    def tell(self, held: int) -> None:
        """This worker accepts connections, and holds so many."""
        self._numbers[2 * self._at + 1] = held

    def withdraw(self) -> None:
        """This worker accepts no connections for now; none is left to it."""
        self._numbers[2 * self._at + 1] = _NOT_ACCEPTING

    def least_of_others(self) -> int | None:
        """The connections of that one of the other living workers which holds the fewest; None: none accepts."""
        numbers = self._numbers
        least = None
        for at in range(0, len(numbers), 2):
            pid, held = numbers[at], numbers[at + 1]
            if not pid:
                break  # places are taken from the first on
            if at == 2 * self._at or held == _NOT_ACCEPTING or (least is not None and held >= least):
                continue
            if _lives(pid):  # one that was killed has left its number
                least = held
        return least


class HeldConnections:
    """The places of all forks of the process that makes it."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, _PLACES * 8)).cast("i")

    def free_place(self) -> Place | None:
        """The first place that nobody has, or whose process has ended; None: each is somebody's."""
        for at in range(_PLACES):
            pid = self._numbers[2 * at]
            if not pid or not _lives(pid):
                return Place(self._numbers, at)
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process by now
        return False
    return True
