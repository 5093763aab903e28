"""The line of large requests: one step at a time, and others in between."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
import uvloop
from app.api.hot import Ask, Headers
from app.api.hot_protocol import HotProtocol
from app.api.large import LARGE_BYTES, Line, Steps
from app.api.service import create_app
from app.listener import open_listener
from app.serving import early
from fastapi.testclient import TestClient

from tests.api.checks import AN_HOUR_MS, RANK
from tests.processes import WAIT_SECONDS
from tests.small_model import NAME, SmallModel


def never() -> bool:
    return False


def is_there(connection: Any) -> bool:
    """Whether the kernel knows of no end of it."""
    accepted: socket.socket = connection.transport.get_extra_info("socket")
    return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\1"


def let_kernel_end_others(connections: Collection[Any], left: int) -> None:
    """Until it knows of the end of all but so many. Not a coroutine: the line takes no step meanwhile."""
    deadline = time.monotonic() + WAIT_SECONDS
    while sum(map(is_there, connections)) > left:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def until(check: Callable[[], bool]) -> None:
    """Look again in every turn of the loop."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not check():  # noqa: ASYNC110  (an event would have to be in the code)
            await asyncio.sleep(0)


def test_what_comes_during_a_step_is_answered_before_the_next() -> None:
    done: list[str] = []

    async def main() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        here, there = socket.socketpair()
        here.setblocking(False)

        def read() -> None:
            # As the protocol and the batcher do: what is read is answered in the next turn of the loop.
            loop.call_soon(done.append, here.recv(10).decode())

        def steps(name: str, count: int) -> Steps:
            for number in range(count):
                done.append(f"{name}{number}")
                there.send(f"after {name}{number}".encode())
                if number + 1 < count:
                    yield
            if name == "b":
                ended.set()

        loop.add_reader(here, read)
        line = Line()
        line.add(steps("a", 2), never)
        line.add(steps("b", 3), never)
        assert done == []
        await ended.wait()
        loop.remove_reader(here)
        here.close()
        there.close()

    uvloop.run(main())
    expected = [one for name in ("a0", "a1", "b0", "b1", "b2") for one in (name, f"after {name}")]
    assert done[:9] == expected[:9]


def test_who_is_in_doubt_lets_others_pass_and_is_served_later() -> None:
    done: list[str] = []

    async def main() -> None:
        ended = asyncio.Event()

        def steps(name: str) -> Steps:
            done.append(name)
            if name in ("doubtful", "later"):
                ended.set()
            yield

        line = Line()
        line.add(steps("doubtful"), lambda: "second" not in done)
        line.add(steps("first"), never)
        line.add(steps("second"), never)
        await ended.wait()
        ended.clear()
        line.add(steps("later"), never)
        await ended.wait()

    uvloop.run(main())
    assert done == ["first", "second", "doubtful", "later"]


def test_a_fault_in_one_is_reported_and_keeps_no_other_waiting() -> None:
    reported: list[BaseException] = []

    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

        def broken() -> Steps:
            yield
            raise ValueError("broken")

        def whole() -> Steps:
            yield
            ended.set()

        line = Line()
        line.add(broken(), never)
        line.add(whole(), never)
        await ended.wait()

    uvloop.run(main())
    assert [str(one) for one in reported] == ["broken"]


def test_a_request_whose_deadline_passes_between_two_steps_is_not_gone_on_with(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [{"item_id": f"new-{number}", "price": 1.5} for number in range(5000)]
    body = json.dumps({"candidates": candidates, "deadline_ms": AN_HOUR_MS}).encode().ljust(LARGE_BYTES)
    received, looks = time.perf_counter(), list[float]()
    answer: Future[tuple[int, Any]] = Future()

    def gone() -> bool:
        looks.append(time.perf_counter())
        return False

    def passing() -> float:
        return time.perf_counter() + (AN_HOUR_MS / 1e3 if len(looks) >= 3 else 0.0)

    monkeypatch.setattr(early, "time", SimpleNamespace(perf_counter=passing))

    def respond(status: int, payload: bytes, _: Headers) -> None:
        answer.set_result((status, json.loads(payload)["error"]["message"]))

    client.portal.call(client.app.state.hot.answer, Ask("rank", NAME, body, "x", received, gone, respond))  # type: ignore[union-attr,attr-defined]
    status, message = answer.result(WAIT_SECONDS)
    assert (status, message.partition(" while")[0]) == (504, "the deadline passed")
    assert len(looks) == 3, "one before it was read, and one for each step that was thought of"


def test_a_line_that_all_have_left_is_no_fault_and_goes_on_with_who_comes_then() -> None:
    done: list[str] = []
    reported: list[Any] = []

    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))

        def steps(name: str) -> Steps:
            done.append(name)
            if name == "later":
                ended.set()
            yield

        line = Line()
        for name in ("first", "second"):
            line.add(steps(name), never, lambda: True)
        line.forget_gone()
        assert (len(line), done) == (0, ["first", "second"]), "each was told, by its one step"
        for _ in range(3):
            await asyncio.sleep(0)  # the turns in which they would have been gone on with
        line.add(steps("later"), never)
        await asyncio.wait_for(ended.wait(), WAIT_SECONDS)

    uvloop.run(main())
    assert (done[2:], reported) == (["later"], [])


def test_clients_that_left_the_full_line_give_their_places_to_others(small: SmallModel) -> None:
    candidates = [{"item_id": f"new-{number}", "price": 1.5} for number in range(5000)]
    body = json.dumps({"candidates": candidates}).encode().ljust(LARGE_BYTES)
    request = f"POST {RANK} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    app = create_app(small.settings(max_queue=3, deadline_ms=AN_HOUR_MS))
    server = uvicorn.Server(uvicorn.Config(app, http=HotProtocol, ws="none", log_config=None))

    def cycles() -> list[Any]:
        return [one.cycle for one in server.server_state.connections]  # type: ignore[union-attr]

    async def main() -> tuple[bytes, bytes]:
        with open_listener("127.0.0.1", 0) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            clients = [
                await asyncio.to_thread(socket.create_connection, listener.getsockname(), WAIT_SECONDS)
                for _ in range(4)
            ]
            first, *leaving, late = clients
            for one in clients:
                await asyncio.to_thread(one.sendall, request[:-1])
            await until(lambda: [len(one.body) for one in cycles() if one] == [len(body) - 1] * 4)
            # The line takes a step in two turns of the loop, and the first request has many.
            for one in (first, *leaving):
                one.sendall(request[-1:])
            await until(lambda: sum(not one.more_body for one in cycles()) == 3)
            for one in leaving:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.close()
            let_kernel_end_others(server.server_state.connections, left=2)
            late.sendall(request[-1:])
            answers = [await asyncio.to_thread(one.recv, 65536) for one in (first, late)]
            for one in (first, late):
                one.close()
            server.should_exit = True
            await serving
        return answers[0], answers[1]

    assert [answer[9:12] for answer in uvloop.run(main())] == [b"200", b"200"]
    counted = app.state.service.metrics.exposition().decode()
    assert f'slimrank_requests_total{{model="{NAME}",outcome="cancelled",variant=""}} 2.0' in counted
