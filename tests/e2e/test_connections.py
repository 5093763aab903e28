"""Connections of a service with two workers: who gets them, and that none is lost."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import httpx2
import pytest

from tests.e2e.running import running
from tests.processes import Service, alive, eventually, service
from tests.small_model import SmallModel
from tests.sockets import answer, connected, connected_at_once, get, held, listens

KEPT = 64
# The system may stop a worker for a while, whose share the other one then takes: so the middle one of several attempts
# counts. Where nobody waits for anybody, one attempt in four ends with shares as even as those that are asked for.
ATTEMPTS = 9


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(
        small_model.copy(tmp_path_factory.mktemp("two")), workers=2, compressor=False, client_seconds=600
    ) as one:
        both_accept(one)
        yield one


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as connections:
        yield connections


def port_of(one: Service) -> int:
    return httpx2.URL(one.url).port or 80


def both_accept(one: Service) -> tuple[int, int]:
    """The two workers, once each of them has taken a connection."""
    eventually(lambda: len(one.workers()) == 2, "two workers")
    first, second = one.workers()
    port = port_of(one)
    with ExitStack() as connections:

        def each_has_one() -> bool:
            connections.enter_context(connected(port))
            return min(held(first, port), held(second, port)) > 0

        eventually(each_has_one, "a connection for each worker")
    eventually(lambda: held(first, port) + held(second, port) == 0, "the end of all connections")
    return first, second


def shares(one: Service, number: int) -> list[int]:
    """How many connections each worker holds, once all of them are accepted."""
    port, workers = port_of(one), one.workers()

    def all_accepted() -> list[int]:
        found = [held(pid, port) for pid in workers]
        return found if sum(found) == number else []

    found: list[int] = eventually(all_accepted, f"{number} connections accepted")
    return found


@contextmanager
def halted(*pids: int) -> Iterator[None]:
    """Processes that do nothing until the block ends; those that are killed meanwhile stay dead."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGCONT)


def close_and_wait(one: Service, opened: ExitStack) -> None:
    opened.close()
    shares(one, 0)


def test_connections_that_are_opened_at_once_are_shared(served: Service, opened: ExitStack) -> None:
    found = []
    for _ in range(ATTEMPTS):
        for one in connected_at_once(port_of(served), KEPT):
            opened.enter_context(one)
        found.append(min(shares(served, KEPT)))
        close_and_wait(served, opened)
    assert median(found) >= 3 * KEPT // 8, found


def test_connections_that_are_opened_one_by_one_are_shared(served: Service, opened: ExitStack) -> None:
    found, number = [], KEPT // 2
    for _ in range(3):
        for opened_before in range(number):
            opened.enter_context(connected(port_of(served)))
            shares(served, opened_before + 1)
        found.append(min(shares(served, number)))
        close_and_wait(served, opened)
    assert median(found) >= 3 * number // 8, found


def test_a_worker_that_does_nothing_gets_nothing_and_holds_nobody_up(
    served: Service, opened: ExitStack
) -> None:
    first, second = served.workers()
    with halted(first):
        asked = [opened.enter_context(one) for one in connected_at_once(port_of(served), KEPT)]
        for one in asked:
            get(one, "/health/live")
        assert [answer(one)[0] for one in asked] == [200] * KEPT
        assert held(first, port_of(served)) == 0
    assert alive(first)
    assert alive(second)
    close_and_wait(served, opened)


def waiting(port: int, number: int, path: str, opened: ExitStack) -> list[socket.socket]:
    """Connections in the kernel's queue, with a request in each."""
    found = [opened.enter_context(connected(port)) for _ in range(number)]
    for one in found:
        get(one, path)
    return found


def test_connections_that_wait_outlive_a_worker(tmp_path: Path, opened: ExitStack) -> None:
    with service(tmp_path, workers=2) as one:
        first, second = both_accept(one)
        with halted(first, second):
            asked = waiting(port_of(one), KEPT, "/pid", opened)
            os.kill(first, signal.SIGKILL)
            eventually(lambda: not alive(first), "the end of a worker")
        answers = [answer(connection) for connection in asked]
        assert {status for status, _ in answers} == {200}
        assert str(first).encode() not in {pid for _, pid in answers}


def test_the_next_worker_gets_its_share(tmp_path: Path, opened: ExitStack) -> None:
    with service(tmp_path, workers=2) as one:
        first, second = both_accept(one)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not alive(first), "the end of a worker")
        (_, new) = sorted(both_accept(one), key=lambda pid: pid != second)
        found = []
        for _ in range(ATTEMPTS):
            for connection in connected_at_once(port_of(one), 32):
                opened.enter_context(connection)
            found.append(min(shares(one, 32)))
            assert new in one.workers()
            close_and_wait(one, opened)
        assert median(found) >= 3 * 32 // 8, found


def test_a_worker_that_drains_leaves_what_waits_to_the_other(tmp_path: Path, opened: ExitStack) -> None:
    with service(tmp_path, workers=2, drain_seconds=600) as one:
        first, second = both_accept(one)
        port = port_of(one)
        under_way = waiting(port, 8, "/hold/one", opened)

        def each_has_one() -> bool:
            """With one more where one worker was too fast for the other."""
            if min(shares(one, len(under_way))) > 0:
                return True
            under_way.extend(waiting(port, 1, "/hold/one", opened))
            return False

        eventually(each_has_one, "requests of both workers")
        with halted(second):
            os.kill(first, signal.SIGTERM)
            eventually(lambda: not listens(first, port), "the beginning of the drain")
            asked = waiting(port, 16, "/pid", opened)
        assert {answer(connection) for connection in asked} == {(200, str(second).encode())}
        assert alive(first)
        (tmp_path / "release").touch()
        assert {answer(connection) for connection in under_way} == {(200, b'"one"')}
        eventually(lambda: not alive(first), "the end of the drain")
