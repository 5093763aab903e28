"""Large bodies: clients that leave cost nothing, clients that only end their sending are answered, both ways agree."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from app.api.large import LARGE_BYTES

from tests.e2e.running import running
from tests.e2e.wire import BODY, ORDINARY, RANK, connect, read_answers, request, until_closed
from tests.processes import WAIT_SECONDS, Service, eventually
from tests.small_model import NAME, SmallModel

ROWS = 2000
CANDIDATES = [{"item_id": f"new-{number}", "price": 1.5, "text": [0.125] * 4} for number in range(ROWS)]
LARGE = json.dumps({"user": {"user_id": "u1"}, "candidates": CANDIDATES, "k": 3}).encode().ljust(LARGE_BYTES)
CLIENTS = 12


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(
        small_model.copy(tmp_path_factory.mktemp("large")), compressor=False, deadline_ms=3_600_000
    ) as one:
        yield one


@contextmanager
def held(served: Service) -> Iterator[None]:
    """The worker does nothing meanwhile, and finds all that came in the meantime at once."""
    (worker,) = served.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def begun(served: Service, body: bytes = LARGE) -> socket.socket:
    """A connection whose request is whole but for its last byte."""
    one = connect(served)
    one.sendall(request(body=body)[:-1])
    return one


def counted(text: str, name: str, **labels: str) -> float:
    """The sum of a counter over all other labels, in what was scraped."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
    return sum(float(value) for said, value in found if all(one in said for one in wanted))


def test_clients_that_leave_are_neither_read_nor_scored(served: Service) -> None:
    def numbers() -> list[float]:
        text = httpx2.get(served.url + "/metrics", timeout=WAIT_SECONDS).text  # all of one moment
        cancelled = counted(text, "slimrank_requests_total", outcome="cancelled")
        unread = counted(text, "slimrank_requests_total", outcome="cancelled", variant="")
        return [cancelled, unread, counted(text, "slimrank_candidates_sum")]

    cancelled, unread, candidates = numbers()
    leaving = [begun(served) for _ in range(CLIENTS)]
    resetting = leaving[::3]
    for one in resetting:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert httpx2.post(served.url + RANK, content=BODY, timeout=WAIT_SECONDS).status_code == 200
    with held(served):
        for one in leaving:
            one.sendall(LARGE[-1:])
            one.close()
    # A reset throws away what was not read, so that such a request may never have come to its end.
    left = CLIENTS - len(resetting)
    eventually(lambda: numbers()[0] >= cancelled + left, "the end of all requests whose clients left")
    assert httpx2.post(served.url + RANK, content=BODY, timeout=WAIT_SECONDS).status_code == 200
    now = numbers()
    assert now[0] - cancelled == now[1] - unread
    assert now[2] - candidates == 2 * 2, "only the two small requests were scored, of two known items each"


@pytest.mark.parametrize("body", [LARGE, BODY], ids=["large", "small"])
def test_a_client_that_only_ends_its_sending_is_answered(served: Service, body: bytes) -> None:
    with connect(served) as one:
        one.sendall(request(body=body))
        ((_, _, expected),) = read_answers(one, 1)
    with begun(served, body) as one:
        with held(served):
            one.sendall(body[-1:])
            one.shutdown(socket.SHUT_WR)
        *interim, answer = re.split(rb"(?=HTTP/1\.1 \d{3} )", until_closed(one))[1:]
    assert interim == ([b"HTTP/1.1 100 Continue\r\n\r\n"] if body is LARGE else [])
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(content)["items"] == expected["items"]


def test_many_large_requests_and_small_ones_beside_them_are_all_answered(served: Service) -> None:
    large = [begun(served) for _ in range(CLIENTS)]
    small = [begun(served, BODY) for _ in range(CLIENTS)]
    with held(served):
        for one in large:
            one.sendall(LARGE[-1:])
        for one in small:
            one.sendall(BODY[-1:])
    for one in (*small, *large):
        with one:
            ((status, _, content),) = read_answers(one, 1)
            assert (status, len(content["items"])) == (200, 2 if one in small else 3)


BODIES = [
    LARGE,
    BODY.ljust(LARGE_BYTES),
    LARGE[:-1],
    b"[" * LARGE_BYTES,
    LARGE.replace(b'"price"', b'"prize"'),
    LARGE.replace(b'"new-7"', b'"new-6"'),
    LARGE.replace(b'"k": 3', b'"deadline_ms": 0.001'),
    LARGE.replace(b'"k": 3', b'"deadline_ms": 0.0'),
]


@pytest.mark.parametrize(
    "body", BODIES, ids=["objects", "ids", "shorter", "no json", "unknown", "twice", "late", "no deadline"]
)
def test_both_ways_give_the_same_answer(served: Service, body: bytes) -> None:
    answers = []
    for path in (RANK, RANK + ORDINARY, f"/v1/models/{NAME}/recommend"):
        response = httpx2.post(served.url + path, content=body, timeout=WAIT_SECONDS)
        content = response.json()
        answers.append((response.status_code, content.get("items"), content.get("error")))
    short, ordinary, other_route = answers
    assert short == ordinary
    assert short[0] == (504 if b"0.001" in body else 422 if body not in BODIES[:2] else 200)
    assert other_route[0] == (504 if b"0.001" in body else 422)


def test_no_more_large_requests_wait_than_requests_may(
    small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    small = small_model.copy(tmp_path_factory.mktemp("full"))
    with running(small, compressor=False, deadline_ms=3_600_000, max_queue=3) as one:
        with held(one):
            clients = [connect(one) for _ in range(CLIENTS)]
            for client in clients:
                client.sendall(request(body=LARGE)[:-1])
            for client in clients:
                client.sendall(LARGE[-1:])
        found = [read_answers(client, 1)[0] for client in clients]
        statuses = [status for status, _, _ in found]
        assert {200, 429} == set(statuses)
        assert statuses.count(200) >= 3
        refused = next(answer for status, _, answer in found if status == 429)
        assert refused["error"]["code"] == "overloaded"
        for client in clients:
            client.close()
