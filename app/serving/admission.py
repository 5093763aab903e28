"""Who is let into the queue: a request that cannot be answered in time is refused at once, not after a wait in vain.

What is predicted is the time until a request's answer is on its way: the wait, its own run, and the work of the event
loop. How far predictions were off lately corrects them.
"""

import time

from app.errors import DeadlineExceeded, Overloaded
from app.serving.batcher import Batcher
from app.serving.lane import Lane

_STEP = 0.05
_LEAST_ERROR, _MOST_ERROR = 0.5, 4.0
_WORTH_LEARNING_SECONDS = 0.0005
_TRY_AGAIN_SECONDS = 0.25
"""A graph that has not run for so long is tried whatever is predicted: else an error would never be corrected."""


class Admission:
    """Predicts when the answers of a worker would be ready, and refuses what would be late."""

    def __init__(self, batcher: Batcher, max_queue: int) -> None:
        self._batcher = batcher
        self._max_queue = max_queue
        self._error = 1.0
        self.request_seconds = 0.0002
        """What a request takes of the event loop, besides its run; learned."""

    def seconds(self, lane: Lane, rows: int) -> float:
        """Predicted seconds until the answer to a request of so many rows."""
        cost = lane.cost.seconds(rows)
        loop = (self._batcher.depth + 1) * self.request_seconds
        return self._error * (self._batcher.wait_seconds(cost) + cost + loop)

    def meets(self, lane: Lane, rows: int, deadline: float) -> bool:
        """Whether it should be ready in time."""
        return time.perf_counter() + self.seconds(lane, rows) <= deadline

    def check(self, lane: Lane, rows: int, deadline: float) -> float:
        """Predicted seconds of a request that is let in. Raises Overloaded or DeadlineExceeded for another."""
        if self._batcher.depth >= self._max_queue:
            self._batcher.forget_gone()
            if self._batcher.depth >= self._max_queue:
                raise Overloaded(f"{self._max_queue} requests are waiting already; try again later")
        now = time.perf_counter()
        left = deadline - now
        predicted = self.seconds(lane, rows)
        if predicted <= left:
            return predicted
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the request was encoded; nothing was computed")
        if self._batcher.idle and now - lane.last_run >= _TRY_AGAIN_SECONDS:
            return predicted
        alone = lane.cost.seconds(rows) + self.request_seconds
        told = f"the answer would take about {predicted * 1e3:.3g} ms, and {left * 1e3:.3g} ms are left"
        if alone > left:
            raise DeadlineExceeded(f"{told}; ask for fewer candidates or allow more time")
        raise Overloaded(f"{told}; try again later")

    def note(self, predicted: float, taken: float) -> None:
        """Learn from a request that was scored: what was predicted, and what it took."""
        if predicted > _WORTH_LEARNING_SECONDS:
            # The prediction had the error of before in it already.
            found = self._error * taken / predicted
            self._error += _STEP * (min(max(found, _LEAST_ERROR), _MOST_ERROR) - self._error)

    def note_work(self, seconds: float) -> None:
        """Learn from what the event loop did for one request."""
        self.request_seconds += _STEP * (seconds - self.request_seconds)
