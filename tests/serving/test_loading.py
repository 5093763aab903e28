"""Loads yield the core to serving, and nothing that serves is slowed down for it."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from app.serving.loading import LOADING_NICENESS

from tests.serving.store_changes import Running, activate, play, publish_again
from tests.small_model import SmallModel


def niceness(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def nicer_threads() -> set[int]:
    """Threads of this process, the sessions' own included, that yield to the present one."""
    own = niceness(threading.get_native_id())
    found = set()
    for one in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended since
            if niceness(int(one.name)) > own:
                found.add(int(one.name))
    return found


def loading_threads() -> set[int]:
    return {
        one.native_id for one in threading.enumerate() if one.name.startswith("loading") and one.native_id
    }


def test_only_the_loading_thread_yields(small: SmallModel) -> None:
    others, nicer = loading_threads(), nicer_threads()

    async def scene(one: Running) -> None:
        activate(small, publish_again(small, "baseline"))
        await one.registry.refresh()
        await one.answer()
        (loading,) = loading_threads() - others
        assert nicer_threads() - nicer == {loading}
        assert niceness(loading) == min(19, niceness(threading.get_native_id()) + LOADING_NICENESS)

    play(small, scene)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_of_a_session_serve_and_do_not_yield(small: SmallModel, threads: int) -> None:
    others, nicer = loading_threads(), nicer_threads()

    async def scene(one: Running) -> None:
        activate(small, publish_again(small, "baseline"))
        await one.registry.refresh()
        await one.answer()
        assert loading_threads() - others
        assert nicer_threads() <= nicer

    play(small, scene, inference_threads=threads)
