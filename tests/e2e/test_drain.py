"""The end of a worker's drain: what is answered last is read by its client, and counted."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.listener import open_listener
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tests.e2e.wire import BODY, ORDINARY, RANK, read_answers, request
from tests.processes import WAIT_SECONDS, environment, eventually
from tests.small_model import NAME, SmallModel

FAREWELL_SECONDS = 0.25
ATTEMPTS = 3


def counted(folder: Path) -> dict[str, float]:
    """Requests by outcome, as the workers that counted in that folder have left them there."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return {
        sample.labels["outcome"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "slimrank_requests_total" and sample.labels["model"] == NAME
    }


def is_ready(address: tuple[str, int]) -> bool:
    with socket.create_connection(address, WAIT_SECONDS) as one:
        one.sendall(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        return read_answers(one, 1)[0][0] == 200


@contextmanager
def running(
    model: SmallModel, counts: Path, drain_seconds: float
) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int]]]:
    """A worker that is ready, and its address."""
    settings = environment(models=model.models, store=model.store_folder, drain_seconds=drain_seconds)
    with open_listener("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        command = [sys.executable, "-m", "app.api.worker", "--socket", str(listener.fileno())]
        worker = subprocess.Popen(
            [*command, "--parent", str(os.getpid())],
            env=settings | {"PROMETHEUS_MULTIPROC_DIR": str(counts)},
            pass_fds=[listener.fileno()],
        )
    with worker:
        try:
            eventually(lambda: is_ready(address), "readiness")
            yield worker, address
        finally:
            worker.kill()  # where the test fails


class Asks:
    """A client that asks on one connection until an answer says that it is the last; a reset is raised.

    But for one that was held up, so that what it sent may have come when the worker goes on no more.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.answers = 0
        self.signalled_at = math.inf
        self.was_late = False

    def again_and_again(self, address: tuple[str, int]) -> None:
        with socket.create_connection(address, WAIT_SECONDS) as one:
            ends = False
            while not ends:
                sent_at = math.inf
                try:
                    one.sendall(request(self.path, BODY))
                    sent_at = time.monotonic()
                    ((status, headers, _),) = read_answers(one, 1)
                except OSError:
                    self.was_late = sent_at > self.signalled_at + FAREWELL_SECONDS
                    if self.was_late:
                        return
                    raise
                assert status == 200
                self.answers += 1
                ends = headers.get("connection") == "close"
            assert one.recv(1) == b""


def late_clients(model: SmallModel, counts: Path) -> int:
    """How many of eight clients were held up as a worker ended; the others were answered and told so."""
    asks = [Asks(path) for path in (RANK, RANK + ORDINARY) * 4]
    # The worker is killed first, should the test fail: its clients have no other end.
    with ThreadPoolExecutor(8) as clients, running(model, counts, 60) as (worker, address):
        asked = [clients.submit(one.again_and_again, address) for one in asks]
        eventually(lambda: min(one.answers for one in asks) > 1, "answers")
        signalled_at = time.monotonic()
        for one in asks:
            one.signalled_at = signalled_at
        worker.send_signal(signal.SIGTERM)
        for each in asked:
            each.result(WAIT_SECONDS)
        assert worker.wait(WAIT_SECONDS) == 0
    return sum(one.was_late for one in asks)


def test_clients_that_send_as_the_service_ends_are_answered_and_told_so(
    small_model: SmallModel, tmp_path: Path
) -> None:
    assert any(late_clients(small_model, tmp_path) == 0 for _ in range(ATTEMPTS))


def test_what_is_answered_at_the_end_of_the_drain_is_read_and_counted(
    small_model: SmallModel, tmp_path: Path
) -> None:
    """The worker runs without its supervisor, which would remove what it counted."""
    folder = tmp_path / "counted"
    folder.mkdir()
    with ExitStack() as opened:
        worker, address = opened.enter_context(running(small_model, folder, 0.5))
        whole, half = (opened.enter_context(socket.create_connection(address, WAIT_SECONDS)) for _ in "12")
        half.sendall(request(RANK, BODY)[:-1])
        whole.sendall(request(RANK, BODY))
        ((status, _, _),) = read_answers(whole, 1)
        assert status == 200
        assert is_ready(address), "by now the half request is under way, too"
        worker.send_signal(signal.SIGTERM)
        ((status, _, answer),) = read_answers(half, 1)
        assert (status, answer["error"]["code"]) == (503, "not_ready")
        assert worker.wait(WAIT_SECONDS) == 0
    assert counted(folder) == {"ok": 1.0, "not_ready": 1.0}
