"""`slimrank rank`: what it sends, how it shows an answer, and what it says when there is none."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from app.listener import url_of

from tests.cli.conftest import Ran

Slimrank = Callable[..., Ran]
ANSWER = {
    "request_id": "r1",
    "model": "movielens",
    "variant": "int8",
    "version": "0123456789abcdef",
    "degraded": True,
    "degraded_reason": "the pinned variant [x] could not be loaded",
    "items": [
        {"item_id": "181", "score": 0.87654, "rank": 1, "display": {"title": "Return of the Jedi [1983]"}},
        {"item_id": "50", "score": 0.5, "rank": 2, "display": None},
    ],
    "unknown_items": ["7777"],
    "unknown_user": True,
    "timing_ms": {"encode": 0.1, "queue": 0.2, "infer": 0.3, "total": 0.6},
}


class _Answering(BaseHTTPRequestHandler):
    """Answers every POST alike; the contract's real side is tested with the API."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    asked: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.asked.append((self.path, json.loads(self.rfile.read(length))))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        """Keep quiet."""


class Peer:
    """An HTTP peer that says what it is told to say."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked = _Answering.asked

    def says(self, body: object, status: int = 200) -> "Peer":
        _Answering.status = status
        _Answering.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self


@pytest.fixture
def peer() -> Iterator[Peer]:
    _Answering.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Peer(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def test_candidates_are_ranked_and_shown_with_titles(slimrank: Slimrank, peer: Peer) -> None:
    peer.says(ANSWER)
    candidates = ("--candidates", "50, 181,7777")
    ran = slimrank("rank", "movielens", "--user", "42", *candidates, "-k", 2, "--url", peer.url + "/")
    assert ran.code == 0
    assert peer.asked == [
        (
            "/v1/models/movielens/rank",
            {"user": {"user_id": "42"}, "k": 2, "variant": "auto", "candidates": ["50", "181", "7777"]},
        )
    ]
    for part in ("Return of the Jedi [1983]", "0.8765", "movielens / int8 0123456789abcdef", "0.60 ms"):
        assert part in ran.out
    assert "degraded: the pinned variant [x] could not be loaded" in ran.out
    assert "unknown items: 7777" in ran.out
    assert "the user is unknown" in ran.out


def test_without_candidates_it_asks_for_a_recommendation(slimrank: Slimrank, peer: Peer) -> None:
    peer.says({**ANSWER, "degraded": False, "unknown_items": [], "unknown_user": False, "items": []})
    ran = slimrank("rank", "movielens", "--variant", "int8", "--url", peer.url)
    assert ran.code == 0
    assert peer.asked == [("/v1/models/movielens/recommend", {"user": {}, "k": 10, "variant": "int8"})]
    assert "degraded" not in ran.out


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"error": {"code": "unknown_model", "message": "no model [m]"}}, 404, "no model [m] (HTTP 404)"),
        (b"<html>", 502, "the service answered with HTTP 502"),
        ({"error": "text"}, 500, "the service answered with HTTP 500"),
        ([], 500, "the service answered with HTTP 500"),
        (b"<html>", 200, "is not JSON"),
        ([1], 200, "is not that of slimrank"),
    ],
)
def test_errors_are_said_in_one_line(
    slimrank: Slimrank, peer: Peer, body: object, status: int, said: str
) -> None:
    peer.says(body, status)
    ran = slimrank("rank", "m", "--url", peer.url)
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_nobody_is_there(slimrank: Slimrank) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # it does not listen, and nobody else gets its port meanwhile
        ran = slimrank("rank", "m", "--url", url_of(silent))
    assert ran.code == 1
    assert "is the service running?" in ran.err


def test_a_url_that_is_none(slimrank: Slimrank) -> None:
    ran = slimrank("rank", "m", "--url", "file:///etc/passwd")
    assert (ran.code, ran.err.startswith("error: --url must begin with http")) == (2, True)
