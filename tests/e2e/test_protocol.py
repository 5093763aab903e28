"""What a connection may cost before its request is known."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.running import running
from tests.processes import WAIT_SECONDS, Service
from tests.small_model import SmallModel

CHUNK = b"a" * 65536
START = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(small_model.copy(tmp_path_factory.mktemp("served")), compressor=False) as one:
        yield one


def answer_to(served: Service, parts: Iterator[bytes]) -> bytes:
    """The first bytes that come back; parts are sent until the service has had enough."""
    url = httpx2.URL(served.url)
    with socket.create_connection((url.host, url.port or 80), timeout=WAIT_SECONDS) as client:
        try:
            for part in parts:
                client.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            return client.recv(65536)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("start", [START + b"X: ", START, b"GET /"], ids=["a header", "headers", "a path"])
def test_a_head_without_an_end_is_not_read_for_ever(served: Service, start: bytes) -> None:
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        yield start
        for number in range(1000):
            yield b"X-%d: %s\r\n" % (number, CHUNK) if start == START else CHUNK
            sent += len(CHUNK)

    answer = answer_to(served, parts())
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert sent < 1000 * len(CHUNK), "the service took 64 MB of a head"
    assert "path and headers are too long" in (served.folder / "log").read_text()


def test_a_path_that_is_too_long_is_told_so_though_it_came_in_one_piece(served: Service) -> None:
    answer = answer_to(served, iter([b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"]))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"path and headers are too long" in answer


@pytest.mark.parametrize("path", ["/v1/models/clicks/rank", "/v1/models/clicks/rank?ordinary", "/admin/jobs"])
@pytest.mark.parametrize(
    "part", [b"X: %b\r\n" % CHUNK, b"X:1\r\n" * 13_000, CHUNK], ids=["long", "many", "one"]
)
@pytest.mark.parametrize("before", [b"0\r\nX: 1\r\n", b"5;x="], ids=["trailers", "an extension"])
def test_what_stands_beside_a_body_is_not_read_for_ever(
    served: Service, path: str, part: bytes, before: bytes
) -> None:
    sent = 0

    def parts() -> Iterator[bytes]:
        nonlocal sent
        yield f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + before
        for _ in range(1000):
            yield part
            sent += len(part)

    assert answer_to(served, parts()).startswith(b"HTTP/1.1 4")
    assert sent < 1000 * len(part), "the service took 64 MB"


def test_a_head_in_pieces_and_long_bodies_before_the_next_head_are_taken(served: Service) -> None:
    pieces = iter([START[:9], START[9:], b"X: " + b"a" * 30_000, b"\r\n\r\n"])
    assert answer_to(served, pieces).startswith(b"HTTP/1.1 200 ")
    body = b'{"candidates": ["i1"]}'.ljust(400_000)
    rank = b"POST /v1/models/clicks/rank HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert answer_to(served, iter([(rank + body) * 3])).startswith(b"HTTP/1.1 200 ")


def test_the_service_still_answers(served: Service, tmp_path: Path) -> None:
    assert httpx2.get(served.url + "/health/live", timeout=WAIT_SECONDS).status_code == 200


def test_a_head_request_leaves_the_connection_to_the_next_one(served: Service) -> None:
    """A body that was sent all the same would be read as the answer to the next request."""
    with httpx2.Client(base_url=served.url, timeout=WAIT_SECONDS) as client:
        for path in ("/health/live", "/health/ready", "/metrics", "/"):
            head = client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert client.get("/health/live").json() == {"status": "live"}
        assert int(client.head("/health/live").headers["content-length"]) == len(
            client.get("/health/live").content
        )
