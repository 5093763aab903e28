"""The thread that loads versions beside serving, and how much of a core it takes from it."""

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

_LOG = logging.getLogger(__name__)

LOADING_NICENESS = 5
"""Of the loading thread, where it has one of its own.

Nearly all of a load is work that does not hold Python's lock: hashing files, opening a session, its first runs. On a
core of its own it disturbs nobody, and on the one that serves it would take half of it while requests wait: with this
niceness (a weight of 335 beside 1,024) it takes a quarter.

A nicer thread would take less, until something else keeps the core busy, as another worker does: then it waits for its
turn while it holds Python's lock, or while serving waits for it to take the lock, and serving waits as long. With a
busy process beside a worker on one core, the 99th percentile during swaps was 1.1 times the quiet one with niceness 0,
1.3 times with 5, 2.8 times with 10, and 23 times with 19.
"""


def loading_thread(inference_threads: int) -> ThreadPoolExecutor:
    """One thread for loads, one after another.

    Threads inherit the niceness of the one that starts them, and a session of several threads starts its own while it
    is loaded, which then serve. There the loading thread stays as it is: without privileges niceness cannot be taken
    back.
    """
    niceness = LOADING_NICENESS if inference_threads == 1 else 0
    return ThreadPoolExecutor(1, "loading", initializer=_be_nice, initargs=(niceness,))


def _be_nice(niceness: int) -> None:
    """Add to the niceness of the calling thread; on Linux it is a thread's own."""
    thread = threading.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
    except OSError as error:  # a sandbox may forbid it; versions must be loaded all the same
        _LOG.warning("loading versions cannot yield to serving: %s", error.strerror)
