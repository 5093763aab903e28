"""Clients that leave before their answer: nothing more is done for them, and nobody hears of it."""

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.running import running
from tests.e2e.wire import BODY, ORDINARY, RANK, RECOMMEND, connect, read_answers, request
from tests.processes import Service, eventually
from tests.small_model import SmallModel

HEAVY = b'{"variant": "baseline", "candidates": {"item_id": [%b], "price": [%b]}}' % (
    b", ".join(b'"new%d"' % n for n in range(4000)),
    b", ".join(b"1" for _ in range(4000)),
)


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(small_model.copy(tmp_path_factory.mktemp("leave")), compressor=False) as one:
        yield one


@pytest.fixture(scope="module")
def client(served: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.url, timeout=30) as one:
        yield one


def counted(client: httpx2.Client, outcome: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("slimrank_requests_total{") and f'outcome="{outcome}"' in line
    )


@pytest.mark.parametrize("way", ["1.0", "1.1"])
def test_what_nobody_waits_for_is_not_computed_whatever_way_it_came(
    served: Service, client: httpx2.Client, way: str
) -> None:
    """They all come at once, and are gone by then: those that wait behind the first find nobody."""
    before = counted(client, "cancelled")
    (worker,) = served.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        for _ in range(30):
            with connect(served) as one:
                path = RANK if way == "1.0" else RANK + ORDINARY
                one.sendall(request(path, HEAVY, version=way))
    finally:
        os.kill(worker, signal.SIGCONT)
    assert client.post(RANK, content=BODY).status_code == 200
    eventually(lambda: counted(client, "cancelled") - before >= 15, "those who left are counted as gone")


def test_a_pipelining_client_that_leaves_is_no_fault_of_the_service(
    served: Service, client: httpx2.Client
) -> None:
    before = len(served.log())
    for number in range(20):
        one = connect(served)
        asks = (
            [request(RANK + ORDINARY, HEAVY), request(RANK, BODY)]
            if number % 2
            else [request(RECOMMEND, b'{"k": 1}')] * 20
        )
        one.sendall(b"".join(asks))
        time.sleep(0.001 * number)
        # Leave with a reset.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    assert client.post(RANK, content=BODY).status_code == 200
    time.sleep(0.5)
    said = served.log()[before:]
    assert "Traceback" not in said
    assert "unhandled" not in said
    assert counted(client, "internal") == 0


def test_a_body_that_is_too_large_is_counted_on_either_way(served: Service, client: httpx2.Client) -> None:
    for way in ("1.1", "1.0"):
        before = counted(client, "body_too_large")
        with connect(served) as one:
            head = request(RANK, b"", version=way).replace(b"Length: 0", b"Length: 50000000")
            one.sendall(head)
            assert b" 413 " in one.recv(65536)
        eventually(lambda before=before: counted(client, "body_too_large") == before + 1, "it is counted")


@pytest.mark.parametrize("path", [RANK, RANK + ORDINARY])
def test_what_is_no_chunk_is_counted_as_it_is_told_on_either_way(
    served: Service, client: httpx2.Client, path: str
) -> None:
    def counts() -> tuple[float, float]:
        return counted(client, "bad_request"), counted(client, "invalid_input")

    before = counts()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with connect(served) as one:
        one.sendall(head + b"zz\r\n")
        ((status, headers, content),) = read_answers(one, 1)
        assert (status, headers["connection"], content["error"]["code"]) == (400, "close", "bad_request")
        assert one.recv(1) == b""
    eventually(lambda: counts() != before, "it is counted")
    assert counts() == (before[0] + 1, before[1])


@pytest.mark.parametrize("path", [RANK, RANK + ORDINARY])
def test_a_client_that_leaves_within_its_body_is_counted_on_either_way(
    served: Service, client: httpx2.Client, path: str
) -> None:
    before = counted(client, "invalid_input")
    with connect(served) as one:
        one.sendall(request(path)[:-5])
    eventually(lambda: counted(client, "invalid_input") == before + 1, "it is counted")
