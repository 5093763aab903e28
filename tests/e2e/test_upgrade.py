"""Clients that offer another protocol are answered in this one: curl --http2, the JDK's HttpClient, web sockets."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.running import running
from tests.e2e.test_hot_protocol import BODY, ORDINARY, RANK, RECOMMEND, connect, read_answers, request
from tests.processes import Service
from tests.small_model import SmallModel

H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
WEBSOCKET = ("Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13")
WISHES = [H2C, WEBSOCKET]
ROUTES = [RANK, RANK + ORDINARY]


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    small = small_model.copy(tmp_path_factory.mktemp("upgrade"))
    with running(small, compressor=False, max_body_bytes=100_000) as one:
        yield one
        assert "upgrade" not in one.log().lower()
        assert "WebSocket" not in one.log()


def chunked(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *headers, "", ""]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:]))
    return "\r\n".join(lines).encode() + chunks + b"0\r\n\r\n"


def items(answer: tuple[int, dict[str, str], Any]) -> list[str]:
    status, headers, content = answer
    assert (status, headers.get("connection")) == (200, None)
    assert content["unknown_items"] == ["nobody"]
    return [one["item_id"] for one in content["items"]]


@pytest.fixture(scope="module")
def usual(served: Service) -> list[str]:
    """What a client that wishes for nothing is told."""
    with connect(served) as one:
        one.sendall(request())
        return items(read_answers(one, 1)[0])


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("path", ROUTES)
def test_the_same_answer_comes_again_and_again_on_one_connection(
    served: Service, usual: list[str], path: str, wish: tuple[str, ...]
) -> None:
    asks = [request(path, BODY, *wish), chunked(path, *wish), request(path)] * 2
    with connect(served) as one:
        for ask in asks:
            one.sendall(ask)
            assert items(read_answers(one, 1)[0]) == usual
        one.sendall(b"".join(asks))
        assert [items(answer) for answer in read_answers(one, len(asks))] == [usual] * len(asks)


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("form", ["whole", "chunks"])
def test_a_head_and_a_body_may_come_in_pieces(
    served: Service, usual: list[str], path: str, wish: tuple[str, ...], form: str
) -> None:
    ask = request(path, BODY, *wish) if form == "whole" else chunked(path, *wish)
    body_at = ask.index(b"\r\n\r\n") + 4
    for cuts in ([body_at], [body_at - 1], [20, body_at + 9], list(range(7, len(ask), 7))):
        with connect(served) as one:
            for start, end in zip([0, *cuts], [*cuts, len(ask)], strict=True):
                one.sendall(ask[start:end])
                time.sleep(0.002)  # a packet of its own
            assert items(read_answers(one, 1)[0]) == usual


def test_many_wishes_in_one_packet(served: Service, usual: list[str]) -> None:
    live = "\r\n".join(["GET /health/live HTTP/1.1", "Host: x", *WEBSOCKET, "", ""]).encode()
    with connect(served) as one:
        one.sendall(live * 1500 + request(RANK, BODY, *H2C))
        *found, last = read_answers(one, 1501)
    assert {status for status, _, _ in found} == {200}
    assert items(last) == usual


@pytest.mark.parametrize("path", [*ROUTES, RECOMMEND])
@pytest.mark.parametrize(
    "ask",
    [("Connection: close, Upgrade", "Upgrade: h2c"), ("Connection: upgrade", "Upgrade: h2c")],
    ids=["close", "1.0"],
)
def test_a_connection_that_should_close_does(served: Service, path: str, ask: tuple[str, ...]) -> None:
    version = "1.1" if "close" in ask[0] else "1.0"
    body = b"{}" if path == RECOMMEND else BODY
    with connect(served) as one:
        one.sendall(request(path, body, *ask, version=version))
        ((status, headers, _),) = read_answers(one, 1)
        assert (status, headers["connection"]) == (200, "close")
        assert one.recv(1) == b""


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_that_is_too_large_is_refused(served: Service, path: str) -> None:
    with connect(served) as one:
        one.sendall(request(path, b" " * 100_001, *H2C))
        assert one.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("ask", [b"CONNECT example.com:80", b"CONNECT x:80", b"PRI *"])
def test_what_is_no_wish_but_another_protocol_is_refused(served: Service, ask: bytes) -> None:
    head = b"\r\n".join([ask + b" HTTP/1.1", b"Host: x", *(line.encode() for line in H2C), b"", b""])
    with connect(served) as one:
        one.sendall(head)
        assert one.recv(65536).startswith(b"HTTP/1.1 400 ")
