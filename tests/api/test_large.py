"""The line of large requests: one step at a time, and others in between."""

import asyncio
import socket

import uvloop
from app.api.large import Line, Steps


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
