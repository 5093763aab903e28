"""How fast a core is right now.

A virtual core shares its physical one with strangers, and may lose half of its speed to them for seconds at a time,
with no sign of it in the statistics of the kernel.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

STEADY_WITHIN = 0.10
_SECONDS = 0.02
_STALL_SECONDS = 0.0005
_STEPS = 2_000
_VALUES = np.linspace(0.5, 1.5, 20_000, dtype=np.float32)


def speed_of(core: int) -> float:
    """Rounds per second of a fixed piece of work on that core: interpreted steps and array arithmetic.

    Nothing else that is measured may run there meanwhile.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        started, done = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < _SECONDS:
            _work()
            done += 1
        return done / spent
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def busy(core: int) -> Iterator[None]:
    """That core has something to do meanwhile, as it has in a load test: the host may grant less time to both then."""
    with subprocess.Popen(
        (sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass")
    ) as process:
        try:
            yield
        finally:
            process.kill()


def stalls_ms(core: int, seconds: float) -> list[float]:
    """How long that core stood still, each time for half a millisecond or more, the longest first.

    It does nothing meanwhile but look at the clock, and nothing else should run there.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        now, found = time.perf_counter(), []
        end = now + seconds
        while now < end:
            last, now = now, time.perf_counter()
            if now - last >= _STALL_SECONDS:
                found.append((now - last) * 1e3)
        return sorted(found, reverse=True)
    finally:
        os.sched_setaffinity(0, before)


def is_steady(before: float, after: float) -> bool:
    """Whether the core kept its speed between two measurements."""
    return abs(before - after) <= STEADY_WITHIN * max(before, after)


def _work() -> None:
    total = 0
    for step in range(_STEPS):
        total += step
    # No product of matrices: that could go to threads of the library's own, on other cores.
    for _ in range(5):
        np.sqrt(_VALUES * _VALUES + _VALUES)
