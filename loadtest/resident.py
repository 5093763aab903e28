"""Resident memory of a process tree over the time of a load."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from loadtest.machine import resident_of_tree

Resident = list[tuple[float, int]]
"""(seconds from the start, bytes)."""
SETTLE_SECONDS = 600.0
"""What grows before this, or before the first sixth of a shorter run, is warm-up."""
_POOLED = 5


@contextmanager
def watched(pid: int, every_seconds: float) -> Iterator[Resident]:
    """Look at the tree's resident memory every so many seconds until the block ends."""
    seen: Resident = []
    stop = threading.Event()
    begun = time.monotonic()

    def look() -> None:
        while not stop.wait(every_seconds):
            seen.append((time.monotonic() - begun, resident_of_tree(pid)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def growth(seen: Sequence[tuple[float, int]], seconds: float) -> float | None:
    """By which share memory grew from the settled moment to the end of a run of so many seconds.

    Both ends are medians of five looks; None where there were too few.
    """
    settled = min(SETTLE_SECONDS, seconds / 6)
    after = [size for moment, size in seen if moment >= settled]
    if len(after) < 2 * _POOLED:
        return None
    return median(after[-_POOLED:]) / median(after[:_POOLED]) - 1
