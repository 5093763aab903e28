"""Both ends of the tie between the supervisor and its children: what they are told, and that none outlives it."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.settings import Settings
from app.telemetry import OFF

PREFIX = "SLIMRANK_"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# The terminal sends these to the whole foreground group; only the supervisor is to act on them.
_FROM_TERMINAL = {signal.SIGINT, signal.SIGHUP}


def end_with_parent(parent: int, by: signal.Signals) -> None:
    """Have the kernel send `by` to this process when its parent, of that process id, ends, even by kill -9.

    The kernel watches the thread that started this process, so the supervisor starts its children from its main
    thread only.
    """
    _prctl(_PR_SET_PDEATHSIG, int(by))
    if os.getppid() != parent:
        sys.exit("the supervisor ended before its child had begun")


def name_process(name: str) -> None:
    """Show this process under that name in ps and top; its first 15 characters."""
    Path("/proc/self/comm").write_text(name)


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be given, instead of init, the children of this process's descendants that end meanwhile."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


class ChildStarter:
    """Starts the supervisor's children: with their parent's process id, and deaf to the terminal.

    Ctrl-C reaches the supervisor alone, which drains its children. They inherit a signal mask for that, from the
    first instruction on. The mask is the whole thread's, so one child is started at a time.
    """

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def start(self, command: Sequence[str], environment: dict[str, str], **options: Any) -> Process:
        """Start `command`, with `--parent <pid>` added; options are those of `asyncio.create_subprocess_exec`."""
        parent = ("--parent", str(os.getpid()))
        async with self._one_at_a_time:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _FROM_TERMINAL)
            try:
                return await asyncio.create_subprocess_exec(*command, *parent, env=environment, **options)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


def environment_of(settings: Settings, *, with_secrets: bool) -> dict[str, str]:
    """The environment of a child, from which `Settings()` reads equal settings; secrets only where they are needed.

    Telemetry of libraries is off, unless the operator says otherwise.
    """
    # Settings reads names in any case, so a lower-case one would compete with ours.
    ours = {PREFIX + name.upper() for name in Settings.model_fields}
    environment = OFF | {name: value for name, value in os.environ.items() if name.upper() not in ours}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value() if with_secrets else None
        if value is not None:
            environment[PREFIX + name.upper()] = str(value)
    return environment
