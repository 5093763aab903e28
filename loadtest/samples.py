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
        self.sent = np.full(capacity, np.nan)
        self.answered = np.full(capacity, np.nan)
        self.status = np.zeros(capacity, dtype=np.int32)
        self.bodies: list[bytes | None] = [None] * capacity
        self.failed: dict[int, str] = {}
        self.origins: dict[int, tuple[str, str]] = {}
        """Variant and version of answers that name theirs."""
        self.asks = np.zeros(capacity, dtype=np.int64)
        """Which ask each request is."""
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

    def send(self, number: int, moment: float) -> None:
        """Request `number` is sent now: later than intended when all connections are busy, or the generator is."""
        self.sent[number] = moment

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
        return self.took_ms()[self.right()]

    def right(self) -> np.ndarray:
        """bool [capacity]: which requests have a right answer."""
        right = self.offered()
        right[list(self.failed)] = False
        return right

    def took_ms(self) -> np.ndarray:
        """float64 [capacity]: from the intended moment to the answer of any kind; NaN where nothing was sent."""
        return (self.answered - self.intended) * 1e3

    def offered(self) -> np.ndarray:
        """bool [capacity]: which requests were meant to be sent."""
        return ~np.isnan(self.intended)

    def summary(self) -> Summary:
        """The run in numbers."""
        latencies = self.latencies_ms()
        outcomes = Counter(self.failed.values())
        outcomes[OK] = len(latencies)
        seconds = self.ended - self.started
        return Summary(
            int(self.offered().sum()),
            seconds,
            len(latencies) / seconds,
            percentiles_ms(latencies),
            dict(outcomes),
        )
