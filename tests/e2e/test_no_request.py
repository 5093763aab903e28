"""Bytes that are no request, after requests: those are answered first."""

import re
from collections.abc import Iterator

import pytest

from tests.e2e.running import running
from tests.e2e.wire import BODY, ORDINARY, RANK, RECOMMEND, connect, request, until_closed
from tests.processes import Service
from tests.small_model import SmallModel


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(small_model.copy(tmp_path_factory.mktemp("no-request")), compressor=False) as one:
        yield one


GARBAGE = [
    b"\0\1 no HTTP\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 0\r\n\r\n",
    request().replace(b"Host: x", b"Host: x\r\nHost: y"),
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "in pieces"])
@pytest.mark.parametrize(
    "garbage",
    GARBAGE,
    ids=["bytes", "length", "chunks", "connect", "no host", "two hosts", "two hosts, hot", "coding"],
)
@pytest.mark.parametrize(
    "paths", [[RANK], [RECOMMEND], [RANK + ORDINARY], [RANK, RANK + ORDINARY, RANK, "/nothing", RECOMMEND]]
)
def test_what_is_no_request_is_refused_after_the_answers_to_those_before_it(
    served: Service, paths: list[str], garbage: bytes, apart: bool
) -> None:
    ids = [str(number) for number in range(len(paths))]
    asks = [
        request(path, b"{}" if path == RECOMMEND else BODY, f"X-Request-ID: {one}")
        for path, one in zip(paths, ids, strict=True)
    ]
    with connect(served) as one:
        # Nothing of what follows is taken for a request.
        data = [*asks, garbage + request()]
        for part in data if apart else [b"".join(data)]:
            one.sendall(part)
        *answers, last = re.split(rb"(?=HTTP/1\.1 \d{3} )", until_closed(one))[1:]
    assert [_header(answer, b"x-request-id").decode() for answer in answers] == ids
    assert [answer[9:12] for answer in answers] == [b"404" if p == "/nothing" else b"200" for p in paths]
    assert last.startswith(b"HTTP/1.1 400 ")
    assert _header(last, b"connection") == b"close"


def _header(answer: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?i)\r\n%b: ([^\r]*)\r\n" % name, answer)
    return found[1] if found else b""
