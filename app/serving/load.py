"""How much is asked of a model at present: requests and candidate rows that come in a second."""

import math
import time
from collections.abc import Callable

_REMEMBERED_SECONDS = 0.5
_LATELY_SECONDS = 0.1
_SURELY = 2.0
"""Standard deviations: so much of what came lately may be chance."""
_SIZE_STEP = 0.05


class Load:
    """Counts what comes, answered or refused for want of time; what came before the last half second is forgotten.

    A load that has just begun is seen by what came in the last tenth of a second, as far as that cannot be chance.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._requests = 0.0
        self._lately = 0.0
        self._rows = 0.0
        self._named_seconds = 0.0
        self._at = clock()
        self.bytes_per_row = 0.0
        """How long the bodies of late were for each of their candidates; 0 until one was read."""

    def note_size(self, rows: int, body_bytes: int) -> None:
        """A body of so many bytes asked for so many rows."""
        size = body_bytes / rows
        self.bytes_per_row += _SIZE_STEP * (size - self.bytes_per_row) if self.bytes_per_row else size

    def note(self, rows: int) -> None:
        """A request for so many rows has come, which leaves the variant to the ladder."""
        self._fade()
        self._requests += 1.0
        self._lately += 1.0
        self._rows += rows

    def note_named(self, seconds: float) -> None:
        """A request has come that takes so long of a worker, and whose variant is not the ladder's to choose."""
        self._fade()
        self._named_seconds += seconds

    def utilization(self, run_seconds: Callable[[int], float], request_seconds: float) -> float:
        """The share of a worker's time that all this would take; more than 1 cannot be done.

        `run_seconds` gives what a request of so many rows takes of runs, `request_seconds` what each takes besides.
        """
        self._fade()
        rows = self._rows / max(self._requests, 1e-9)
        named = self._named_seconds / _REMEMBERED_SECONDS
        return named + self._per_second() * (request_seconds + run_seconds(round(rows)))

    def _per_second(self) -> float:
        # The variance of a Poisson process's count that fades exponentially is half of its mean.
        surely = self._lately - _SURELY * math.sqrt(self._lately / 2)
        return max(self._requests / _REMEMBERED_SECONDS, surely / _LATELY_SECONDS)

    def _fade(self) -> None:
        now = self._clock()
        passed = self._at - now
        kept = math.exp(passed / _REMEMBERED_SECONDS)
        self._requests *= kept
        self._rows *= kept
        self._named_seconds *= kept
        self._lately *= math.exp(passed / _LATELY_SECONDS)
        self._at = now
