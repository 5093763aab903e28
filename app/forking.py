"""The warm parent's own side: a process that has imported all that a worker needs, and forks workers on orders.

    order:   one byte, with the listening socket and the writing end of a pipe
    report:  on that pipe, "worker <pid>", "threads <number>" or "failed <reason>"; nothing from one that died first

A fork copies one thread, and what others held then stays held for ever. So there is one thread here, no event loop, no
session, no database, and no socket but that of the orders: each worker makes its own. Where libraries have begun
threads at their import, none is forked and the report says so.

A worker is the child of a child that has ended. The kernel gives it to the supervisor, which has asked for that (see
app/warm_parent.py), and from then on it is a child like any other: its exit code is the supervisor's to read, it ends
with the supervisor, and the end of the warm parent does not touch it.
"""

import gc
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from app.held_connections import HeldConnections, Place
from app.machine import give_back

_ADOPTION_POLL_SECONDS = 0.001


def await_fork(orders: socket.socket) -> tuple[int, Place | None]:
    """Fork a worker on each order. Returns in workers only, with the descriptor of the listening socket and its place.

    The warm parent itself ends in here, once nobody can give orders any more.
    """
    # A collection writes to every object, and the kernel copies each page that is written to. What is here stays.
    held = HeldConnections()
    gc.collect()
    gc.freeze()
    give_back()
    while True:
        _, descriptors, _, _ = socket.recv_fds(orders, 1, 2)
        if len(descriptors) != 2:
            sys.exit(0)
        listener, report = descriptors
        place = held.free_place()
        is_worker = _fork(report, place)
        os.close(report)
        if is_worker:
            orders.close()
            return listener, place
        os.close(listener)


def _fork(report: int, place: Place | None) -> bool:
    """True in a new worker, once the supervisor is its parent; False in the warm parent."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        _tell(report, f"threads {threads}")
        return False
    try:
        between = os.fork()
    except OSError as error:
        _tell(report, f"failed {error.strerror}")
        return False
    if between:
        os.waitpid(between, 0)
        return False
    between = os.getpid()
    try:
        worker = os.fork()
    except OSError as error:
        _tell(report, f"failed {error.strerror}")
        os._exit(0)
    if worker:
        if place is not None:
            place.take(worker)  # here, so that it is taken before the warm parent looks for the next one
        os._exit(0)
    while os.getppid() == between:
        time.sleep(_ADOPTION_POLL_SECONDS)
    _tell(report, f"worker {os.getpid()}")
    return True


def _tell(report: int, what: str) -> None:
    # Nobody listens when the supervisor has ended, and then everything else ends, too.
    with suppress(BrokenPipeError):
        os.write(report, what.encode())
