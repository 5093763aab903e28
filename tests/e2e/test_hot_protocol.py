"""The short way of hot requests and the ordinary way give the same answers, on real connections."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.running import running
from tests.e2e.wire import BODY, ORDINARY, RANK, RECOMMEND, connect, read_answers, request
from tests.processes import WAIT_SECONDS, Service
from tests.small_model import NAME, SmallModel


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(
        small_model.copy(tmp_path_factory.mktemp("hot")), compressor=False, max_body_bytes=100_000
    ) as one:
        yield one


@pytest.fixture(scope="module")
def client(served: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.url, timeout=WAIT_SECONDS) as one:
        yield one


def told(response: httpx2.Response) -> tuple[int, Any]:
    """Status and body without what differs from request to request."""
    content = response.json()
    for name in ("request_id", "timing_ms"):
        content.pop(name, None)
    return response.status_code, content


BODIES = [
    BODY,
    b'{"user": {"user_id": "nobody"}, "candidates": {"item_id": ["i1"], "price": [2.5]}, "k": 1}',
    b'{"candidates": [{"item_id": "new", "price": 1}, {"item_id": "i3"}], "variant": "baseline"}',
    b'{"candidates": []}',
    b'{"candidates": ["i1", "i1"]}',
    b'{"candidates": ["i1", {"item_id": "i2"}]}',
    b'{"candidates": ["i1"], "variant": "nope"}',
    b'{"candidates": ["i1"], "deadline_ms": 1e-9}',
    b'{"candidates": ["i1"], "k": 0}',
    b'{"user": {}, "exclude": ["i1"], "k": 3}',
    b"",
    b"nothing",
    b"[" * 5000,
    b'{"candidates": ["\\ud800"]}',
    b'{"candidates": ["\xff"]}',
    b" " * 100_000 + BODY,
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", [RANK, RECOMMEND, "/v1/models/nothing/rank"])
def test_both_ways_give_the_same_answer(client: httpx2.Client, path: str, body: bytes) -> None:
    short, ordinary = (client.post(path + way, content=body) for way in ("", ORDINARY))
    assert told(short) == told(ordinary)
    same = ("content-type", "retry-after", "connection")
    assert [short.headers.get(name) for name in same] == [ordinary.headers.get(name) for name in same]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["i1", "i2", "u1", "", "price"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["user", "candidates", "item_id", "user_id", "k", "variant", "price", "context"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_both_ways_agree_on_whatever_comes(client: httpx2.Client, content: Any) -> None:
    body = json.dumps(content).encode()
    short, ordinary = (client.post(RANK + way, content=body) for way in ("", ORDINARY))
    assert told(short) == told(ordinary)
    assert short.status_code < 500


def test_a_connection_is_kept_and_every_answer_has_its_own_id(served: Service) -> None:
    with connect(served) as one:
        for number in range(3):
            one.sendall(request(RANK, BODY, f"X-Request-ID: ask-{number}"))
            ((status, headers, content),) = read_answers(one, 1)
            assert (status, headers["x-request-id"], content["request_id"]) == (200, *[f"ask-{number}"] * 2)
            assert "date" in headers
        one.sendall(request(RANK, BODY, "X-Request-ID: not ok!"))
        ((_, headers, _),) = read_answers(one, 1)
        assert len(headers["x-request-id"]) == 16


def test_requests_sent_without_waiting_are_answered_in_order(served: Service) -> None:
    paths = [RANK, "/v1/models/nothing/rank", RECOMMEND, RANK + ORDINARY, RANK]
    bodies = [BODY, BODY, b"{}", BODY, BODY]
    with connect(served) as one:
        asks = [
            request(path, body, f"X-Request-ID: {n}")
            for n, (path, body) in enumerate(zip(paths, bodies, strict=True))
        ]
        one.sendall(b"".join(asks))
        found = read_answers(one, len(asks))
    assert [headers["x-request-id"] for _, headers, _ in found] == ["0", "1", "2", "3", "4"]
    assert [status for status, _, _ in found] == [200, 404, 200, 200, 200]


ASKS = [
    request(),
    request(RANK, b'{"candidates": ["i3", "i2"]}'),
    request(RANK, b'{"candidates": ["nobody"]}', "X-Request-ID: mine"),
    request(RECOMMEND, b'{"k": 1}'),
    request(RANK + ORDINARY),
    request(RANK, b"not json"),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(range(len(ASKS))), min_size=1, max_size=3), min_size=1, max_size=8),
    st.lists(st.integers(1, 300), max_size=4),
)
def test_any_order_and_any_cut_of_requests_gives_the_same_answers(
    served: Service, alone: list[tuple[int, Any]], bursts: list[list[int]], cuts: list[int]
) -> None:
    """Most heads are known by now: known ones, parsed ones, several at once and pieces of them mix."""
    with connect(served) as one:
        for burst in bursts:
            data, start = b"".join(ASKS[number] for number in burst), 0
            for cut in cuts:
                one.sendall(data[start : start + cut])
                start += cut
            one.sendall(data[start:])
            found = [_plain(status, content) for status, _, content in read_answers(one, len(burst))]
            assert found == [alone[number] for number in burst]


@pytest.fixture(scope="module")
def alone(served: Service) -> list[tuple[int, Any]]:
    """What each of ASKS is answered on a connection of its own."""
    found = []
    for ask in ASKS:
        with connect(served) as one:
            one.sendall(ask)
            ((status, _, content),) = read_answers(one, 1)
            found.append(_plain(status, content))
    return found


def _plain(status: int, content: dict[str, Any]) -> tuple[int, Any]:
    return status, {name: value for name, value in content.items() if name not in ("request_id", "timing_ms")}


def test_a_request_in_pieces_and_one_in_chunks_are_whole(served: Service) -> None:
    with connect(served) as one:
        whole = request()
        for start in range(0, len(whole), 7):
            one.sendall(whole[start : start + 7])
            time.sleep(0.001)
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:]))
        head = f"POST {RANK} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        (first,) = read_answers(one, 1)
        one.sendall(head + chunks + b"0\r\n\r\n")
        (second,) = read_answers(one, 1)
    assert (first[0], second[0]) == (200, 200)
    assert first[2]["items"] == second[2]["items"]


@pytest.mark.parametrize("ask", [request(RANK, BODY, "Connection: close"), request(version="1.0")])
def test_a_connection_that_should_close_does(served: Service, ask: bytes) -> None:
    with connect(served) as one:
        one.sendall(ask)
        ((status, headers, _),) = read_answers(one, 1)
        assert (status, headers["connection"]) == (200, "close")
        assert one.recv(1) == b""


def test_a_body_that_announces_or_is_too_much_is_refused_and_the_connection_closed(served: Service) -> None:
    announced = f"POST {RANK} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n".encode()
    head = f"POST {RANK} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    endless = head + b"186a1\r\n" + b"a" * 100_001
    for ask in (announced.replace(b"9" * 23, b"100001"), endless):
        with connect(served) as one:
            one.sendall(ask)
            ((status, headers, content),) = read_answers(one, 1)
            assert (status, headers["connection"]) == (413, "close")
            assert content["error"]["code"] == "body_too_large"
            assert one.recv(1) == b""


@pytest.mark.parametrize("path", [RANK, RANK + ORDINARY])
def test_how_long_a_client_takes_to_send_is_no_part_of_its_deadline(served: Service, path: str) -> None:
    # A worker may be stopped for longer than the first deadline; none is stopped for longer than all of them.
    for seconds in (1, 8, 32):
        ask = request(path, BODY[:-1] + b', "deadline_ms": %d}' % (1000 * seconds))
        with connect(served) as one:
            one.sendall(ask[:-5])
            time.sleep(1.25 * seconds)
            one.sendall(ask[-5:])
            ((status, _, content),) = read_answers(one, 1)
        if status == 200:
            break
    assert status == 200, content
    assert content["timing_ms"]["total"] < 1250 * seconds


def test_bodies_that_are_answered_are_not_kept_for_as_long_as_the_connection(served: Service) -> None:
    (worker,) = served.workers()
    with ExitStack() as connections:
        clients = [connections.enter_context(connect(served)) for _ in range(300)]
        before = _resident_bytes(worker)
        for one in clients:
            one.sendall(request(RANK, BODY.ljust(99_000)))
            read_answers(one, 1)
        assert _resident_bytes(worker) - before < 300 * 99_000 / 2


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_clients_that_leave_are_counted_and_disturb_nobody(served: Service, client: httpx2.Client) -> None:
    for number in range(20):
        with connect(served) as one:
            ask = request()
            one.sendall(ask[: len(ask) - number])
    assert client.post(RANK, content=BODY).status_code == 200
    assert 'outcome="internal"' not in client.get("/metrics").text


def test_the_ordinary_way_exists_for_what_is_not_plain(client: httpx2.Client) -> None:
    assert (
        client.post(f"/v1/models/{NAME[0]}%{ord(NAME[1]):02x}{NAME[2:]}/rank", content=BODY).status_code
        == 200
    )
    assert client.get(RANK).status_code == 405
    assert client.post(RANK, content=BODY, headers={"Expect": "100-continue"}).status_code == 200
