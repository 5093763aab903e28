"""How much is asked of a model at present: requests and candidate rows that come in a second."""

import math
import time
from collections.abc import Callable

_REMEMBERED_SECONDS = 0.5
_LATELY_SECONDS = 0.1
_SURELY = 2.0
"""Standard deviations: so much of what came lately may be chance."""
_SIZE_STEP = 0.05
_AT_ONCE_SECONDS = 0.005


class Taken:
    """The share of a worker's time that some requests take; what came before the last half second or so fades."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._at = clock()
        self._seconds = 0.0

    def note(self, seconds: float) -> None:
        """A request has come that takes so long of a worker."""
        if self._clock() - self._at > _AT_ONCE_SECONDS:
            self._fade()
        self._seconds += seconds

    def share(self) -> float:
        """The share at present; more than 1 cannot be done."""
        self._fade()
        return self._seconds / _REMEMBERED_SECONDS

    def _fade(self) -> None:
        now = self._clock()
        passed, self._at = now - self._at, now
        self._seconds *= math.exp(-passed / _REMEMBERED_SECONDS)


class Load:
    """Counts what comes for a model, answered or refused because of others; what came before fades.

    A load that has just begun is seen by what came in the last tenth of a second, as far as that cannot be chance.
    `worker` is what the requests of all models take, of which each notes its own.
    """

    def __init__(self, worker: Taken, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._worker = worker
        self._own, self._fixed = Taken(clock), Taken(clock)
        self._at = clock()
        self._remembered = _Window(_REMEMBERED_SECONDS)
        self._lately = _Window(_LATELY_SECONDS)
        self._new_requests = self._new_rows = 0.0
        self.bytes_per_row = 0.0
        """How long the bodies of late were for each of their candidates; 0 until one was read."""

    def note_size(self, rows: int, body_bytes: int) -> None:
        """A body of so many bytes asked for so many rows."""
        size = body_bytes / rows
        self.bytes_per_row += _SIZE_STEP * (size - self.bytes_per_row) if self.bytes_per_row else size

    def note_asked(self, rows: int, open_share: float = 1.0) -> None:
        """So many rows are asked for, answered or refused because of others.

        `open_share` is how likely the request leaves the variant to the ladder.
        """
        # Refusals under overload must cost next to nothing: a few milliseconds make no difference to what has faded.
        if self._clock() - self._at > _AT_ONCE_SECONDS:
            self._fade()
        self._new_requests += open_share
        self._new_rows += open_share * rows

    def note(self, rows: int, seconds: float) -> None:
        """So many rows are asked for, which take so long of a worker as the ladder has it now."""
        self.note_asked(rows)
        self._own.note(seconds)
        self._worker.note(seconds)

    def note_fixed(self, seconds: float) -> None:
        """A request has come that takes so long of a worker, and whose variant is not the ladder's to choose."""
        self._fixed.note(seconds)
        self._own.note(seconds)
        self._worker.note(seconds)

    def taken_share(self) -> float:
        """The share of a worker's time that the ladder has no say in: fixed variants, and what other models take."""
        others = self._worker.share() - self._own.share()
        return self._fixed.share() + max(0.0, others)

    def utilization(self, run_seconds: Callable[[int], float], request_seconds: float) -> float:
        """The share of a worker's time that all others would take; more than 1 cannot be done.

        `run_seconds` gives what a request of so many rows takes of runs, `request_seconds` what each takes besides.
        """
        self._fade()
        window, per_second = self._remembered, self._remembered.requests / _REMEMBERED_SECONDS
        # The variance of a Poisson process's count that fades exponentially is half of its mean.
        surely = self._lately.requests - _SURELY * math.sqrt(self._lately.requests / 2)
        if surely / _LATELY_SECONDS > per_second:
            window, per_second = self._lately, surely / _LATELY_SECONDS
        rows = window.rows / max(window.requests, 1e-9)
        return per_second * (request_seconds + run_seconds(round(rows)))

    def _fade(self) -> None:
        now = self._clock()
        passed, self._at = now - self._at, now
        for window in (self._remembered, self._lately):
            window.requests += self._new_requests
            window.rows += self._new_rows
            window.fade(passed)
        self._new_requests = self._new_rows = 0.0


class _Window:
    """Counts that fade exponentially."""

    __slots__ = ("_seconds", "requests", "rows")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.requests = self.rows = 0.0

    def fade(self, passed: float) -> None:
        kept = math.exp(-passed / self._seconds)
        self.requests *= kept
        self.rows *= kept
