"""What was measured of each request, and what may be said of it."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

OK = "ok"
# Samples that a percentile needs at least: ten beyond it.
_LEAST = {50: 20, 95: 200, 99: 1_000, 99.9: 10_000}


@dataclass(frozen=True)
class Summary:
    """One run in numbers; a percentile that the samples do not carry is absent."""

    requests: int
    seconds: float
    throughput: float
    """Right answers per second."""
    latency_ms: dict[str, float]
    """p50, p95, p99, p99.9, max: of right answers, from the intended moment."""
    outcomes: dict[str, int]

    @property
    def failures(self) -> int:
        """Requests without a right answer."""
        return self.requests - self.outcomes.get(OK, 0)


def percentiles_ms(latencies_ms: np.ndarray) -> dict[str, float]:
    """p50, p95, p99, p99.9, as far as the samples carry them, and the largest."""
    shown = {
        f"p{p:g}": float(np.percentile(latencies_ms, p)) for p, n in _LEAST.items() if len(latencies_ms) >= n
    }
    if len(latencies_ms):
        shown["max"] = float(latencies_ms.max())
    return shown


class Samples:
    """Moments and outcomes of every request, in arrays made beforehand."""

    def __init__(self, capacity: int) -> None:
        self.intended = np.full(capacity, np.nan)
        self.answered = np.full(capacity, np.nan)
        self.status = np.zeros(capacity, dtype=np.int32)
        self.bodies: list[bytes | None] = [None] * capacity
        self.failed: dict[int, str] = {}
        self.started = self.ended = 0.0

    def begin(self, moment: float) -> None:
        """The run begins."""
        self.started = moment

    def end(self, moment: float) -> None:
        """The run has ended."""
        self.ended = moment

    def intend(self, number: int, moment: float) -> None:
        """Request `number` is meant to be sent now."""
        self.intended[number] = moment

    def answer(self, number: int, moment: float, status: int, body: bytes) -> None:
        """Its answer came; status 0: the connection was lost."""
        self.answered[number] = moment
        self.status[number] = status
        self.bodies[number] = body
        if status != 200:
            self.failed[number] = str(status) if status else "connection lost"

    def fail(self, number: int, moment: float, why: str) -> None:
        """It has no answer."""
        self.answered[number] = moment
        self.failed[number] = why

    def latencies_ms(self) -> np.ndarray:
        """Of right answers, in the order of sending."""
        right = self._sent()
        right[list(self.failed)] = False
        return (self.answered[right] - self.intended[right]) * 1e3

    def summary(self) -> Summary:
        """The run in numbers."""
        sent = self._sent()
        latencies = self.latencies_ms()
        outcomes = Counter(self.failed.values())
        outcomes[OK] = len(latencies)
        seconds = self.ended - self.started
        return Summary(
            int(sent.sum()), seconds, len(latencies) / seconds, percentiles_ms(latencies), dict(outcomes)
        )

    def _sent(self) -> np.ndarray:
        return ~np.isnan(self.intended)
