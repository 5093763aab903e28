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
_TRY_AGAIN_RUNS = 8
"""The same in times of what a request takes, where only predictions that were too low before say that it would be late:
those of a storm must not outlast it. Tries in vain take a ninth of an idle worker's time, a third where they take four
times as long as they should."""
_LEAST_MARGIN, _MOST_MARGIN = 1.1, 3.0
_MARGIN_UP, _MARGIN_DOWN = 0.05, 0.00025
"""A wait counts for more than is predicted, as much as it takes that about one in two hundred answers is late: each of
those widens the margin by what the others narrow it. (A mean alone would be exceeded half of the time.)"""
_SHEDS_SECONDS = 0.1
_LOOK_FOR_GONE_SECONDS = 0.0001
"""For each place of the queue: to look through all of it at each refusal would be most of the work of an overload."""
_ANSWERS_A_LOOK = 64
_FEW_OTHERS = 8
_BUSY_STEP = 0.25
_MOST_BESIDE = 4.0
_OUTLIER = 16.0
"""What took more times as long as usual was interrupted. High enough that the mean of what is slow now and then is met:
it is reckoned with for each request that waits."""


class Admission:
    """Predicts when the answers of a worker would be ready, and refuses what would be late."""

    def __init__(self, batcher: Batcher, max_queue: int) -> None:
        self._batcher = batcher
        self._max_queue = max_queue
        self._error = 1.0
        self._sheds_until = float("-inf")
        self._looked_for_gone_at = float("-inf")
        self._wait_margin = 1.5
        self.request_seconds = 0.0002
        """What a request takes of the event loop, from its body to its answer and besides its run; learned."""
        self.busy_seconds = self.request_seconds
        """The same with what the loop and the kernel do for it; learned from the thread's own clock."""
        self._answered = self._others = 0
        self._looked_at = 0.0, 0.0

    def seconds(self, lane: Lane, rows: int, wait_margin: float = 1.0) -> float:
        """Predicted seconds until the answer to a request of so many rows, from now on; right on the average."""
        cost = lane.cost.seconds(rows)
        batcher = self._batcher
        wait = batcher.wait_seconds(lane, rows) + batcher.depth * self.request_seconds
        return self._error * (wait_margin * wait + cost + self.request_seconds)

    def queue_seconds(self) -> float:
        """Seconds until all that waits now should be answered, with something to spare."""
        batcher = self._batcher
        wait = batcher.queue_seconds() + batcher.depth * self.request_seconds
        return batcher.lag_seconds + self._error * self._wait_margin * wait

    def seconds_alone(self, lane: Lane, rows: int) -> float:
        """Seconds until the answer if nothing were before it, and this worker did nothing else."""
        return lane.cost.seconds(rows) + self.request_seconds

    def meets(self, lane: Lane, rows: int, deadline: float) -> bool:
        """Whether it should be ready in time, with something to spare."""
        lag = self._batcher.lag_seconds
        return time.perf_counter() + lag + self.seconds(lane, rows, self._wait_margin) <= deadline

    def check(self, lane: Lane, rows: int, deadline: float) -> float:
        """Predicted seconds of a request that is let in. Raises Overloaded or DeadlineExceeded for another."""
        now = time.perf_counter()
        left = deadline - now
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the request was encoded; nothing was computed")
        alone = self.seconds_alone(lane, rows)
        if alone > left and not (self._batcher.idle and now - lane.last_run >= _TRY_AGAIN_SECONDS):
            raise DeadlineExceeded(f"{_told(alone, left)}; ask for fewer candidates or allow more time")
        self.check_queue(lane, rows, deadline)
        return self.seconds(lane, rows)

    def check_queue(self, lane: Lane, rows: int, deadline: float) -> None:
        """Raises Overloaded for a request that cannot be answered in time because of those before it."""
        batcher, now = self._batcher, time.perf_counter()
        if self._fits(lane, rows, deadline) or (self._forgot_gone(now) and self._fits(lane, rows, deadline)):
            return
        self._sheds_until = now + _SHEDS_SECONDS
        if batcher.depth >= self._max_queue:
            raise Overloaded(f"{self._max_queue} requests are waiting already; try again later")
        self._others += 1
        predicted = batcher.lag_seconds + self.seconds(lane, rows, self._wait_margin)
        raise Overloaded(f"{_told(predicted, deadline - now)}; try again later")

    def _fits(self, lane: Lane, rows: int, deadline: float) -> bool:
        """Whether it has a place and should be ready in time; with nothing before it, it is tried now and then."""
        if not self._batcher.idle:
            return self._batcher.depth < self._max_queue and self.meets(lane, rows, deadline)
        now, alone = time.perf_counter(), self.seconds_alone(lane, rows)
        rested = now - lane.last_run
        return self._error * alone <= deadline - now or rested >= min(
            _TRY_AGAIN_SECONDS, _TRY_AGAIN_RUNS * alone
        )

    def sheds(self, now: float) -> bool:
        """Whether a request was refused a moment ago because of others."""
        return now < self._sheds_until

    def _forgot_gone(self, now: float) -> bool:
        """Give the places of clients that have left to others, now and then; whether it was done now."""
        if now - self._looked_for_gone_at < _LOOK_FOR_GONE_SECONDS * self._batcher.depth:
            return False
        self._looked_for_gone_at = now
        self._batcher.forget_gone()
        return True

    def note_end(self, deadline: float) -> None:
        """Learn from a request that was let in and has its scores."""
        self._learn_margin(late=time.perf_counter() + self._batcher.lag_seconds > deadline)

    def note_missed(self) -> None:
        """Learn from a request that was let in, and dropped because it was late or would have been."""
        self._learn_margin(late=True)

    def _learn_margin(self, *, late: bool) -> None:
        margin = self._wait_margin + (_MARGIN_UP if late else -_MARGIN_DOWN)
        self._wait_margin = min(max(margin, _LEAST_MARGIN), _MOST_MARGIN)

    def note(self, predicted: float, taken: float) -> None:
        """Learn from a request that was scored: what was predicted, and what it took."""
        if predicted > _WORTH_LEARNING_SECONDS:
            # The prediction had the error of before in it already.
            found = self._error * taken / predicted
            self._error += _STEP * (min(max(found, _LEAST_ERROR), _MOST_ERROR) - self._error)

    def note_work(self, seconds: float) -> None:
        """Learn from what the event loop did for one request."""
        seconds = min(seconds, _OUTLIER * self.request_seconds)
        self.request_seconds += _STEP * (seconds - self.request_seconds)

    def note_answer(self) -> None:
        """Count a request that was answered."""
        self._answered += 1
        if self._answered >= _ANSWERS_A_LOOK:
            self._look()

    def _look(self) -> None:
        """What answers have cost since the last look; refusals cost less, and must be few for that to be told."""
        thread, runs = time.thread_time(), self._batcher.inline_seconds
        spent = (thread - self._looked_at[0]) - (runs - self._looked_at[1])
        if self._looked_at[0] and self._others * _FEW_OTHERS <= self._answered:
            # Never less than what is known to belong to a request; and what has little to do with requests is bounded.
            found = min(
                max(spent / self._answered, self.request_seconds), _MOST_BESIDE * self.request_seconds
            )
            self.busy_seconds += _BUSY_STEP * (found - self.busy_seconds)
        self._looked_at = thread, runs
        self._answered = self._others = 0


def _told(predicted: float, left: float) -> str:
    return f"the answer would take about {predicted * 1e3:.3g} ms, and {left * 1e3:.3g} ms are left"
