"""Work that goes on beside a load, in a thread, whose failures end up in the result."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_BEGIN_SECONDS = 120.0
_END_SECONDS = 900.0


@dataclass(frozen=True)
class Side:
    """What the work is told, and what it tells."""

    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the load has ended."""
    begun: threading.Event = field(default_factory=threading.Event)
    """Set by the work when the load may begin."""
    notes: dict[str, Any] = field(default_factory=dict)
    """For the result file."""


@contextmanager
def alongside(work: Callable[[Side], None]) -> Iterator[dict[str, Any]]:
    """Do `work` until the block ends, which begins once it says so; gives its notes, complete after the block.

    When it fails, `error` among the notes says how. Raises TimeoutError when it does not end.
    """
    side = Side()
    with ThreadPoolExecutor(1, thread_name_prefix="beside the load") as pool:
        doing = pool.submit(work, side)
        # Work that fails before it has begun is not waited for.
        doing.add_done_callback(lambda _: side.begun.set())
        try:
            if not side.begun.wait(_BEGIN_SECONDS):
                side.notes["error"] = f"had not begun after {_BEGIN_SECONDS:.0f} s"
            yield side.notes
        finally:
            side.stop.set()
            error = doing.exception(_END_SECONDS)
            if error is not None:
                side.notes["error"] = f"{type(error).__name__}: {error}"


def share_within(spans: list[tuple[float, float]], begin: float, end: float) -> float:
    """Which share of the time from `begin` to `end` lies in one of the spans, which do not overlap."""
    within = sum(max(0.0, min(last, end) - max(first, begin)) for first, last in spans)
    return within / (end - begin) if end > begin else 0.0
