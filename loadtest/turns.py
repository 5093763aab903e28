"""Quiet turns and turns with something beside the load, one after another, and what the difference is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from loadtest.bars import ratio
from loadtest.measure import as_json
from loadtest.samples import Samples, percentiles_ms

QUIET, BESIDE = "quiet", "beside"


@dataclass
class Turns:
    """Every turn of both sides; percentiles pool the turns of a side, so that drift of the machine falls on both."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    _latencies: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)

    def take(self, side: str, load: str, samples: Samples, **more: object) -> None:
        """A turn has ended."""
        self.rows.append({"side": side, "load": load, **as_json(samples), **more})
        self._latencies.setdefault((load, side), []).append(samples.latencies_ms())

    def loads(self) -> list[str]:
        """Names of the loads, in the order of their first turn."""
        return list(dict.fromkeys(row["load"] for row in self.rows))

    def pooled(self, load: str, side: str) -> dict[str, float]:
        """Percentiles of all turns of a side, in milliseconds."""
        parts: Sequence[np.ndarray] = self._latencies.get((load, side), [])
        return percentiles_ms(np.concatenate(parts)) if parts else {}

    def p99_ratio(self, load: str) -> float | None:
        """p99 beside the work over the quiet p99; None where the samples do not carry it."""
        return ratio(self.pooled(load, BESIDE).get("p99"), self.pooled(load, QUIET).get("p99"))

    def neighbours(self, load: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The quiet turns of a load, each with the turn beside the work that was next to it."""
        quiet, beside = (
            [row for row in self.rows if (row["load"], row["side"]) == (load, side)]
            for side in (QUIET, BESIDE)
        )
        return list(zip(quiet, beside, strict=False))

    def between_neighbours(self, load: str, percentile: str) -> float | None:
        """The median of a percentile's ratios of neighbouring turns, which drift of the machine hardly touches.

        None where the samples of a turn do not carry it.
        """
        ratios = [
            ratio(beside["latency_ms"].get(percentile), quiet["latency_ms"].get(percentile))
            for quiet, beside in self.neighbours(load)
        ]
        known = [one for one in ratios if one is not None]
        return median(known) if known and len(known) == len(ratios) else None

    def failures(self) -> int:
        """Requests without a right answer, of both sides."""
        return sum(
            count for row in self.rows for outcome, count in row["outcomes"].items() if outcome != "ok"
        )

    def as_json(self) -> dict[str, Any]:
        """For a result file."""
        return {
            "turns": self.rows,
            "latency_ms": {
                load: {side: self.pooled(load, side) for side in (QUIET, BESIDE)} for load in self.loads()
            },
            "p99_ratio": {load: self.p99_ratio(load) for load in self.loads()},
        }
