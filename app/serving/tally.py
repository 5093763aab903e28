"""What many requests took, counted in plain lists and handed to Prometheus a few times a second.

A histogram that all workers share is a file: each observation costs as much as looking up ten candidates. Nothing is
lost but what a worker that is killed counted in its last quarter of a second.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from prometheus_client import Histogram


class SummedHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def observe_all(self, counts: Sequence[int], total: float) -> None:
        """Add `counts[i]` observations to the i-th bucket (the last one has no bound), and `total` to their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Tally:
    """Observations for one child of a histogram that it has not been told yet; a child begins with the first."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_labels", "_total")

    def __init__(self, histogram: SummedHistogram, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._histogram = histogram
        self._labels = labels
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total: float = 0.0

    def observe(self, value: float) -> None:
        """Note one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def flush(self) -> None:
        """Tell the histogram."""
        counts, total = self._counts, self._total
        if any(counts):
            child = self._histogram.labels(*self._labels)  # the first one opens a file, which may fail
            self._counts, self._total = [0] * len(counts), 0.0
            child.observe_all(counts, total)


class Count:
    """Increments of one child of a counter that it has not been told yet."""

    __slots__ = ("_counter", "_value")

    def __init__(self, counter: Any) -> None:
        self._counter = counter
        self._value = 0

    def inc(self) -> None:
        """Note one more."""
        self._value += 1

    def flush(self) -> None:
        """Tell the counter."""
        if self._value:
            value, self._value = self._value, 0
            self._counter.inc(value)
