"""Large hot requests, one step after another: what others send in between is read and answered in between.

To decode megabytes of JSON, or to encode what ten thousand candidates bring, holds the event loop for tens of
milliseconds. Forty such bodies that come together would hold it for seconds. So they stand in a line of their own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

LARGE_BYTES = 128 * 1024
"""A body of so many bytes stands in line. Ten thousand ids are less, and read in a millisecond or two."""
DOUBT_SECONDS = 0.02
"""How long a client that may have left has to show it; it is a round trip."""

Steps = Iterator[None]
"""The work for one request; every step holds the loop."""
Says = Callable[[], bool]
_Waiting = tuple[Steps, Says, Says]


def _never() -> bool:
    return False


class Line:
    """Whoever came first is served first, one step in two turns of the event loop.

    The turn in between is for what was read after the last step: a small request is answered before the next step.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._doubtful = 0
        self._is_moving = False

    def __len__(self) -> int:
        return len(self._waiting) + self._doubtful

    def add(self, steps: Steps, is_doubtful: Says, is_gone: Says = _never) -> None:
        """Put work at the end. While `is_doubtful` says so it is not gone on with, and lets others pass.

        Once `is_gone` says so, its next step does nothing but end it.
        """
        self._waiting.append((steps, is_doubtful, is_gone))
        if not self._is_moving:
            self._is_moving = True
            asyncio.get_running_loop().call_soon(self._let_others)

    def forget_gone(self) -> None:
        """Give the places of clients that have left to others."""
        gone = [one for one in self._waiting if one[2]()]
        self._waiting = deque(one for one in self._waiting if one not in gone)
        for steps, _, _ in gone:
            next(steps, None)

    def _add_again(self, one: _Waiting) -> None:
        self._doubtful -= 1
        self.add(*one)

    def _let_others(self) -> None:
        asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._waiting:  # else all of them have left meanwhile
                self._go_on(self._waiting.popleft(), loop)
        finally:  # a fault of one is the loop's to report, and no reason to keep the others waiting
            self._is_moving = bool(self._waiting)
            if self._is_moving:
                loop.call_soon(self._let_others)

    def _go_on(self, one: _Waiting, loop: asyncio.AbstractEventLoop) -> None:
        steps, is_doubtful, _ = one
        if is_doubtful():
            self._doubtful += 1
            loop.call_later(DOUBT_SECONDS, self._add_again, one)
        elif next(steps, self) is not self:
            self._waiting.appendleft(one)
