"""A client that still sends when it is refused reads why, and not that its connection was reset."""

import json
import signal
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.running import running
from tests.e2e.wire import BODY, ORDINARY, RANK, connect, read_answers, request, until_closed
from tests.processes import WAIT_SECONDS, Service
from tests.small_model import SmallModel

MOST = 100_000
FAR_TOO_MUCH = 8_000_000  # more than the buffers of two sockets hold


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    small = small_model.copy(tmp_path_factory.mktemp("lingering"))
    with running(small, compressor=False, max_body_bytes=MOST) as one:
        yield one


def chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("path", [RANK, RANK + ORDINARY])
@pytest.mark.parametrize("ask", [request, chunked])
def test_a_body_that_is_far_too_large_is_sent_to_its_end_and_told_so(
    served: Service, path: str, ask: object
) -> None:
    assert callable(ask)
    with connect(served) as one:
        one.sendall(ask(path, b" " * FAR_TOO_MUCH))
        ((status, headers, content),) = read_answers(one, 1)
        assert (status, headers["connection"]) == (413, "close")
        assert content["error"]["details"] == {"max_body_bytes": MOST}
        assert one.recv(1) == b""


@pytest.mark.parametrize("garbage", [b"\0\1 no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000])
def test_what_is_no_request_is_told_so_in_the_form_of_every_error(served: Service, garbage: bytes) -> None:
    with connect(served) as one:
        one.sendall(garbage)
        one.sendall(b"a" * FAR_TOO_MUCH)
        ((status, headers, content),) = read_answers(one, 1)
        assert one.recv(1) == b""
    assert (status, headers["connection"]) == (400, "close")
    assert content["error"]["code"] == "bad_request"


def test_what_follows_a_refusal_in_the_same_packet_is_not_answered(served: Service) -> None:
    with connect(served) as one:
        one.sendall(chunked(RANK, b" " * (MOST + 1)) + request() + request(RANK + ORDINARY))
        answers = until_closed(one)
    assert answers.count(b"HTTP/1.1 ") == 1
    with connect(served) as one:
        one.sendall(chunked(RANK + ORDINARY, b" " * (MOST + 1)) + request() + request(RANK + ORDINARY))
        assert until_closed(one).startswith(b"HTTP/1.1 413 ")
    _answers_without_a_fault(served)


def test_who_never_ends_is_cut_off(served: Service) -> None:
    with connect(served) as one:
        one.sendall(request(RANK, b" " * (MOST + 1)))
        assert until_closed(one).startswith(b"HTTP/1.1 413 ")
        _send_until_cut_off(one, b" ", 0.05)
    _answers_without_a_fault(served)


def test_who_sends_for_ever_is_cut_off(served: Service) -> None:
    with connect(served) as one:
        _send_until_cut_off(one, b"\0" * 1_000_000, 0.0)
    _answers_without_a_fault(served)


def test_a_service_that_ends_does_not_wait_for_who_lingers(
    small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    small = small_model.copy(tmp_path_factory.mktemp("ending"))
    with running(small, compressor=False, max_body_bytes=MOST) as one, connect(one) as client:
        client.sendall(request(RANK, b" " * (MOST + 1))[:-1])
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")
        one.signal(signal.SIGTERM)
        assert one.process.wait(WAIT_SECONDS) == 0
        assert _is_over(client)


def _send_until_cut_off(client: socket.socket, part: bytes, pause_seconds: float) -> None:
    began = time.monotonic()
    try:
        while time.monotonic() < began + WAIT_SECONDS:
            client.sendall(part)
            time.sleep(pause_seconds)
    except (BrokenPipeError, ConnectionResetError):
        return
    pytest.fail("the service has never had enough")


def _is_over(client: socket.socket) -> bool:
    try:
        return until_closed(client) == b""
    except ConnectionResetError:
        return True


def _answers_without_a_fault(served: Service) -> None:
    answer = httpx2.post(served.url + RANK, content=BODY, timeout=WAIT_SECONDS)
    assert answer.status_code == 200, json.dumps(answer.json())
    log = (served.folder / "log").read_text()
    assert "Traceback" not in log
    assert "unhandled" not in log
