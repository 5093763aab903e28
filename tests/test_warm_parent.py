"""Workers that are forked from a warm parent: crashes of either, signals, and a process that must not be forked."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from app.lifeline import ChildStarter
from app.warm_parent import ForkedWorker, WarmParent

from tests.descriptors import no_more_descriptors
from tests.processes import (
    HELD,
    PROGRAMS,
    SMALL_SERVICE,
    Service,
    alive,
    children_of,
    eventually,
    hold,
    service,
)


def family(running: Service) -> tuple[int, list[int]]:
    """The warm parent and its two workers."""
    eventually(lambda: len(running.workers()) == 2, "two workers")
    parent = running.warm_parent()
    assert parent is not None
    return parent, running.workers()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), "the end of a process")


def answers_from(running: Service, pid: int) -> None:
    eventually(lambda: running.get("/pid") == pid, f"an answer from {pid}")


def test_workers_are_children_of_the_supervisor_and_their_parent_holds_nothing(tmp_path: Path) -> None:
    with service(tmp_path, workers=2) as running:
        parent, workers = family(running)
        assert set(children_of(running.process.pid)) == {parent, *workers}
        assert children_of(parent) == []
        assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1
        links = [str(path.readlink()) for path in Path(f"/proc/{parent}/fd").iterdir()]
        assert len([link for link in links if link.startswith("socket:")]) == 1  # that of its orders
        for worker in workers:
            answers_from(running, worker)


def test_one_worker_has_no_warm_parent(tmp_path: Path) -> None:
    with service(tmp_path, workers=1) as running:
        assert running.children() == running.workers() == [running.get("/pid")]


def test_a_worker_that_crashed_is_forked_again_from_the_same_parent(tmp_path: Path) -> None:
    with service(tmp_path, workers=2) as running:
        parent, (victim, other) = family(running)
        kill(victim)
        _, after = eventually(lambda: len(running.workers()) == 2 and family(running), "the next worker")
        assert running.warm_parent() == parent
        assert other in after
        (new,) = set(after) - {other}
        answers_from(running, new)
        eventually(lambda: "ended by SIGKILL; next start in 0 s" in running.log(), "its exit code in the log")


def test_a_dead_warm_parent_takes_nothing_along_and_is_replaced_when_it_is_needed(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    with service(tmp_path, workers=2) as running:
        parent, workers = family(running)
        held = hold(running, pool)
        kill(parent)
        assert running.workers() == workers
        (tmp_path / "release").touch()
        assert sorted(one.result() for one in held) == [str(number) for number in range(HELD)]
        kill(workers[0])
        eventually(lambda: len(running.workers()) == 2, "the next worker")
        assert running.warm_parent() not in {None, parent}
        (new,) = set(running.workers()) - {workers[1]}
        answers_from(running, new)
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        running.leaves_nobody()
    assert "the warm parent has ended; another one takes its place" in running.log()
    assert "Traceback" not in running.log()


def test_workers_drain_although_their_parent_is_dead(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with service(tmp_path, workers=2, drain_seconds=60) as running:
        parent, _ = family(running)
        held = hold(running, pool)
        kill(parent)
        running.signal(signal.SIGTERM)
        eventually(running.refuses, "new connections are refused")
        assert not any(one.done() for one in held)
        (tmp_path / "release").touch()
        assert sorted(one.result() for one in held) == [str(number) for number in range(HELD)]
        assert running.exit_code() == 0
        running.leaves_nobody()


def test_a_drain_ends_the_warm_parent_at_once_and_not_the_requests(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    with service(tmp_path, workers=2, drain_seconds=60) as running:
        parent, _ = family(running)
        held = hold(running, pool)
        running.signal(signal.SIGTERM)
        eventually(lambda: not alive(parent), "the end of the warm parent")
        eventually(running.refuses, "new connections are refused")
        assert not any(one.done() for one in held)
        (tmp_path / "release").touch()
        assert len([one.result() for one in held]) == HELD
        assert running.exit_code() == 0


def test_a_stop_while_workers_start_is_no_death_of_the_warm_parent(tmp_path: Path) -> None:
    (tmp_path / "imports").touch()
    with service(tmp_path, wait=False, workers=3) as running:
        eventually(running.children, "the start of the warm parent")
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        running.leaves_nobody()
    assert "the warm parent" not in running.log()
    assert "Traceback" not in running.log()


def test_workers_drain_when_the_supervisor_was_killed(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with service(tmp_path, workers=2, drain_seconds=60) as running:
        parent, workers = family(running)
        held = hold(running, pool)
        kill(running.process.pid)
        eventually(lambda: not alive(parent), "the end of the warm parent")
        (tmp_path / "release").touch()
        assert sorted(one.result() for one in held) == [str(number) for number in range(HELD)]
        eventually(lambda: not any(map(alive, workers)), "the end of the workers")


def test_a_forked_worker_that_cannot_start_ends_the_service_and_says_why(tmp_path: Path) -> None:
    with service(tmp_path, workers=2) as running:
        _, workers = family(running)
        (tmp_path / "refuse").touch()
        kill(workers[0])
        assert running.exit_code() == 2
        running.leaves_nobody()
    assert "error: the small worker was told to refuse" in running.log()


def workers_started_on_their_own(running: Service) -> None:
    """Two of them serve, one that dies has a successor, and all end."""
    eventually(lambda: len(running.workers()) == 2, "two workers")
    assert running.warm_parent() is None
    first, second = running.workers()
    answers_from(running, first)
    kill(first)
    eventually(lambda: len(running.workers()) == 2, "the next worker")
    assert second in running.workers()
    running.signal(signal.SIGTERM)
    assert running.exit_code() == 0
    running.leaves_nobody()


def test_a_process_with_threads_is_not_forked_and_workers_start_on_their_own(tmp_path: Path) -> None:
    (tmp_path / "threads").touch()
    with service(tmp_path, workers=2) as running:
        workers_started_on_their_own(running)
    assert running.log().count("2 threads run in the warm parent: each worker starts on its own") == 1


def test_a_warm_parent_that_does_not_answer_is_killed_and_another_one_is_asked() -> None:
    started: list[int] = []

    class Starter(ChildStarter):
        """Notes whom it has started."""

        async def start(self, *arguments: Any, **options: Any) -> Process:
            process = await super().start(*arguments, **options)
            started.append(process.pid)
            return process

    async def scene() -> None:
        command = (sys.executable, "-c", "import time; time.sleep(600)")
        parent = WarmParent(command, dict(os.environ), Starter(), patience_seconds=0.5)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(2):
                with pytest.raises(OSError, match="does not answer"):
                    await parent.fork(listener)
        await parent.end()

    asyncio.run(scene())
    assert len(started) == 2
    assert not any(alive(pid) for pid in started)


def test_a_worker_for_which_there_is_no_descriptor_is_not_left_behind() -> None:
    """Nobody could wait for it, and another one is started in its place."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        try:
            with no_more_descriptors(), pytest.raises(OSError, match="Too many open files"):
                ForkedWorker(child.pid)
            with pytest.raises(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
        finally:
            child.kill()


def test_a_kernel_that_does_not_tell_of_the_end_of_forks_gets_workers_that_start_on_their_own(
    tmp_path: Path,
) -> None:
    without = (sys.executable, str(PROGRAMS / "without_pidfd.py"))
    tried = subprocess.run([*without, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
    if "takes no filter" in tried.stderr:
        pytest.skip("this kernel, or a sandbox around it, takes no filter of system calls")
    command = (*without, *SMALL_SERVICE)
    with service(tmp_path, wait=False, command=command, workers=2) as running:
        workers_started_on_their_own(running)
    assert running.log().count("each worker starts on its own") == 1
