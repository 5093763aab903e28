"""Who waits before a worker's sessions, in two lines: requests that one turn is enough for, and those of more rows.

Each line is first in, first out. While somebody waits in both, the short ones have one turn's time, then one of the
others has a turn: a small request is held up by one turn of a large one for each turn of small ones before it, however
many large ones wait, and large ones get about half of the time. That is deficit round robin with two queues
(Shreedhar and Varghese, Efficient fair queueing using deficit round robin, 1995).
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

from app.serving.lane import TURN_SECONDS, Lane
from app.serving.waiting import Waiting

_LOOK_AHEAD = 64
"""So many requests are looked at for one run: to look through a full queue would take longer than many a run."""


class Lines:
    """The two lines, and how much work is in them."""

    def __init__(self) -> None:
        self._short: deque[Waiting] = deque()
        self._long: deque[Waiting] = deque()
        self._short_seconds = 0.0
        self._long_seconds = 0.0
        self._passed_seconds = 0.0
        """What short ones have had since the last turn of a long one."""

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def __iter__(self) -> Iterator[Waiting]:
        return chain(self._short, self._long)

    @property
    def seconds(self) -> float:
        """What the runs of all that wait take."""
        return self._short_seconds + self._long_seconds

    def append(self, one: Waiting) -> None:
        """Put a request at the end of its line."""
        if one.rows_left > one.lane.turn_rows():
            self._long.append(one)
            self._long_seconds += one.seconds
        else:
            self._short.append(one)
            self._short_seconds += one.seconds

    def clear(self) -> list[Waiting]:
        """Empty both lines; gives who was in them."""
        waiting = list(self)
        self._short.clear()
        self._long.clear()
        self._short_seconds = self._long_seconds = self._passed_seconds = 0.0
        return waiting

    def remove(self, which: Callable[[Waiting], bool]) -> list[Waiting]:
        """Take out those of whom this is true; the others keep their order, and whose turn it is stays as it was."""
        passed, removed = self._passed_seconds, list[Waiting]()
        for one in self.clear():
            if which(one):
                removed.append(one)
            else:
                self.append(one)
        self._passed_seconds = passed if self._long else 0.0
        return removed

    def take(self) -> Waiting:
        """The request whose turn it is. Raises IndexError when nobody waits."""
        if self._long and (not self._short or self._passed_seconds >= TURN_SECONDS):
            self._passed_seconds = 0.0
            one = self._long.popleft()
            # No error of rounding outlives an empty line.
            self._long_seconds = self._long_seconds - one.seconds if self._long else 0.0
            return one
        one = self._short.popleft()
        self._took(one)
        return one

    def take_others(self, lane: Lane, fits: Callable[[Waiting], bool]) -> Iterator[Waiting]:
        """Short ones for the same graph in their order, up to the first that does not fit."""
        skipped: list[Waiting] = []
        looked_at = 0
        try:
            while self._short and looked_at < _LOOK_AHEAD:
                looked_at += 1
                one = self._short[0]
                if one.lane is not lane:
                    skipped.append(self._short.popleft())
                elif not fits(one):
                    return
                else:
                    self._short.popleft()
                    self._took(one)
                    yield one
        finally:
            if skipped:
                self._short.extendleft(reversed(skipped))
                self._short_seconds = sum(one.seconds for one in self._short)

    def wait_seconds(self, lane: Lane, rows: int, left_seconds: float = 0.0) -> float:
        """How long a request of so many rows would wait before the last of its turns, if it came now.

        `left_seconds`: of one whose turn it is, what it takes after that turn, which it waits for in a line.
        """
        long_seconds = self._long_seconds + left_seconds
        if rows > lane.turn_rows():
            return self._short_seconds + long_seconds
        if not long_seconds:
            return self._short_seconds
        passing = int((self._passed_seconds + self._short_seconds) / TURN_SECONDS)
        turns = min(passing, math.ceil(long_seconds / TURN_SECONDS))
        return self._short_seconds + turns * TURN_SECONDS

    def _took(self, one: Waiting) -> None:
        self._passed_seconds = self._passed_seconds + one.seconds if self._long else 0.0
        self._short_seconds -= one.seconds
        if not self._short:
            self._short_seconds = 0.0
