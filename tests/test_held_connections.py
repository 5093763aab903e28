"""The memory in which workers tell one another how many connections they hold."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from app.held_connections import HeldConnections, Place

PROGRAM = """
import os, signal
from app.held_connections import HeldConnections
held = HeldConnections()
place, (ready, tell) = held.free_place(), os.pipe()
if not (pid := os.fork()):
    place.take(os.getpid())
    place.tell(7)
    os.write(tell, b"x")
    signal.pause()
os.read(ready, 1)
own = held.free_place()
own.take(os.getpid())
print(own.least_of_others())
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
print(own.least_of_others())
"""


@pytest.fixture
def others() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three living processes."""
    with ExitStack() as running:
        found = [running.enter_context(subprocess.Popen(["sleep", "1000"])) for _ in range(3)]
        for one in found:
            running.callback(one.kill)
        yield found


def placed(held: HeldConnections, pid: int) -> Place:
    place = held.free_place()
    assert place is not None
    place.take(pid)
    return place


def test_forks_of_one_process_see_what_each_tells_until_it_dies() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["7", "None"]


def test_only_others_that_live_and_accept_count(others: list[subprocess.Popen[bytes]]) -> None:
    held = HeldConnections()
    own = placed(held, os.getpid())
    places = [placed(held, one.pid) for one in others]
    own.tell(0)
    assert own.least_of_others() is None  # they have not begun
    for place, held in zip(places, (5, 2, 9), strict=True):
        place.tell(held)
    assert own.least_of_others() == 2
    others[1].kill()
    others[1].wait()
    assert own.least_of_others() == 5
    places[0].withdraw()
    assert own.least_of_others() == 9
    assert places[2].least_of_others() == 0


def test_the_place_of_one_that_has_ended_is_the_next_ones(others: list[subprocess.Popen[bytes]]) -> None:
    held = HeldConnections()
    first, second = placed(held, others[0].pid), placed(held, others[1].pid)
    first.tell(4)
    others[0].kill()
    others[0].wait()
    next_one = placed(held, others[2].pid)
    assert second.least_of_others() is None  # the number of the dead one is not the next one's
    next_one.tell(1)
    assert second.least_of_others() == 1


def test_where_all_places_are_taken_one_goes_without() -> None:
    held = HeldConnections()
    while (place := held.free_place()) is not None:
        place.take(os.getpid())
        place.tell(3)
    assert placed(HeldConnections(), os.getpid()).least_of_others() is None
