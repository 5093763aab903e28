"""Clients that send or read too slowly lose their connection, and no others do."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.e2e.running import running
from tests.processes import WAIT_SECONDS, Service, eventually
from tests.small_model import NAME, SmallModel

CLIENT_SECONDS = 1.0
ATTEMPTS = 5
BODY = b'{"candidates": ["i1"]}'
RANK = f"/v1/models/{NAME}/rank"


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(
        small_model.copy(tmp_path_factory.mktemp("slow")), compressor=False, client_seconds=CLIENT_SECONDS
    ) as one:
        yield one


def connect(served: Service) -> socket.socket:
    url = httpx2.URL(served.url)
    return socket.create_connection((url.host, url.port or 80), timeout=WAIT_SECONDS)


def connections(served: Service) -> Iterator[socket.socket]:
    """One after another, for clients that must not be late with their first byte.

    The system may stop the client, or the worker, for CLIENT_SECONDS before that is read; then the connection is gone.
    """
    for _ in range(ATTEMPTS):
        with connect(served) as one:
            yield one


def head(path: str = RANK, length: int = len(BODY)) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def sent_until_refused(connection: socket.socket, part: bytes, times: int, pause_seconds: float = 0.0) -> int:
    """How often a part could be sent before the service took no more."""
    for number in range(times):
        try:
            connection.sendall(part)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            return number
        time.sleep(pause_seconds)
    return times


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


UPGRADE = (
    b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 9\r\n\r\n"
    % RANK.encode()
)


@pytest.mark.parametrize(
    "start",
    [b"POST ", head()[:-4], head() + BODY[:-3], head(length=5000) + BODY, UPGRADE[:-2], UPGRADE + b"{"],
)
def test_a_request_that_does_not_end_is_told_so_and_its_connection_closed(
    served: Service, start: bytes
) -> None:
    answer = b""
    for one in connections(served):
        with suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(start)
            answer = one.recv(65536)
        if answer:
            answer += until_closed(one)
            break
    told, _, body = answer.partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in told.lower()
    assert json.loads(body)["error"]["code"] == "request_timeout"


@pytest.mark.parametrize("start", [b"", head(RANK + "?ordinary") + BODY[:-3]])
def test_a_client_that_says_nothing_or_stops_within_a_body_is_left(served: Service, start: bytes) -> None:
    # Who has sent nothing cannot be late with it.
    excused = (BrokenPipeError, ConnectionResetError) if start else ()
    for one in connections(served):
        with suppress(*excused):
            one.sendall(start)
            assert until_closed(one) == b""
            break
    else:
        pytest.fail("the connection was reset each time")


def test_a_client_that_trickles_is_no_better(served: Service) -> None:
    with connect(served) as one:
        one.sendall(head(length=100_000))
        assert sent_until_refused(one, b" ", int(WAIT_SECONDS / 0.05), 0.05) < WAIT_SECONDS / 0.05


def test_a_client_that_rests_between_requests_keeps_its_connection(served: Service) -> None:
    first = b""
    for one in connections(served):
        with suppress(BrokenPipeError, ConnectionResetError):
            one.sendall(head() + BODY)
            first = one.recv(65536)
        if not first:
            continue
        assert first.startswith(b"HTTP/1.1 200 ")
        for _ in range(2):
            time.sleep(2.5 * CLIENT_SECONDS)
            one.sendall(head() + BODY)
            assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
        break
    assert first


def test_a_client_that_does_not_read_its_answers_is_left(served: Service) -> None:
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(served) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Far more answers than the buffers of two sockets hold; the service stops reading when they are full.
        one.settimeout(0.5)
        assert sent_until_refused(one, ask, 200_000) < 200_000
        client_port = one.getsockname()[1]
        eventually(lambda: not _is_served(client_port), "the end of the connection")
    assert httpx2.get(served.url + "/health/live", timeout=WAIT_SECONDS).status_code == 200


def _is_served(client_port: int) -> bool:
    """Whether the kernel lists an established connection whose other side is this port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(row[2].endswith(f":{client_port:04X}") and row[3] == "01" for row in rows)
