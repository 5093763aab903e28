"""The line of large requests: one step at a time, and others in between."""

import asyncio
import json
import socket
import time
from concurrent.futures import Future
from typing import Any

import uvloop
from app.api.hot import Ask, Headers
from app.api.large import LARGE_BYTES, Line, Steps
from fastapi.testclient import TestClient

from tests.processes import WAIT_SECONDS
from tests.small_model import NAME


def never() -> bool:
    return False


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


def test_a_request_whose_deadline_passes_between_two_steps_is_not_gone_on_with(client: TestClient) -> None:
    candidates = [{"item_id": f"new-{number}", "price": 1.5} for number in range(5000)]
    body = json.dumps({"candidates": candidates, "deadline_ms": 5000}).encode().ljust(LARGE_BYTES)
    received, looks = time.perf_counter(), list[float]()
    answer: Future[tuple[int, Any]] = Future()

    def gone() -> bool:
        looks.append(time.perf_counter())
        if len(looks) == 3:
            time.sleep(max(0.0, received + 5 - time.perf_counter()))
        return False

    def respond(status: int, payload: bytes, _: Headers) -> None:
        answer.set_result((status, json.loads(payload)["error"]["message"]))

    client.portal.call(client.app.state.hot.answer, Ask("rank", NAME, body, "x", received, gone, respond))  # type: ignore[union-attr,attr-defined]
    status, message = answer.result(WAIT_SECONDS)
    assert (status, message.partition(" while")[0]) == (504, "the deadline passed")
    assert len(looks) == 3, "one before it was read, and one for each step that was thought of"
