"""How much is asked of a model at present: requests and candidate rows that come in a second."""

import math
import time
from collections.abc import Callable

_REMEMBERED_SECONDS = 0.5
_SIZE_STEP = 0.05


class Load:
    """Counts what comes, answered or not; what came before the last half second or so is forgotten."""

    def __init__(self) -> None:
        self._requests = 0.0
        self._rows = 0.0
        self._at = time.perf_counter()
        self.bytes_per_row = 0.0
        """How long the bodies of late were for each of their candidates; 0 until one was read."""

    def note_size(self, rows: int, body_bytes: int) -> None:
        """A body of so many bytes asked for so many rows."""
        size = body_bytes / rows
        self.bytes_per_row += _SIZE_STEP * (size - self.bytes_per_row) if self.bytes_per_row else size

    def note(self, rows: int) -> None:
        """A request for so many rows has come."""
        self._fade()
        self._requests += 1.0
        self._rows += rows

    def utilization(self, run_seconds: Callable[[int], float], request_seconds: float) -> float:
        """The share of a worker's time that all this would take; more than 1 cannot be done.

        `run_seconds` gives what a request of so many rows takes of runs, `request_seconds` what each takes besides.
        """
        self._fade()
        rows = self._rows / max(self._requests, 1e-9)
        return self._requests / _REMEMBERED_SECONDS * (request_seconds + run_seconds(round(rows)))

    def _fade(self) -> None:
        now = time.perf_counter()
        kept = math.exp((self._at - now) / _REMEMBERED_SECONDS)
        self._requests *= kept
        self._rows *= kept
        self._at = now
