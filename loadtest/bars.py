"""The bars that the service has to pass, as data: what is measured, and how much is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """One figure and its limit."""

    what: str
    limit: float
    unit: str = ""
    """`x`: a ratio, `%`: a share of one, `ms`, `MB`; empty: a plain number."""
    at_least: bool = False

    def judged(self, value: float | None) -> dict[str, Any]:
        """For a result file; what could not be measured (None) falls short."""
        met = value is not None and (value >= self.limit if self.at_least else value <= self.limit)
        sense = "at least" if self.at_least else "at most"
        return {
            "what": self.what,
            "sense": sense,
            "limit": self.limit,
            "unit": self.unit,
            "value": value,
            "met": met,
        }


MIX_TAIL = Bar("mix at 70% of the capacity: p99 over p50", 4.0, "x")
TAIL_LADDER = Bar("mix at 70% of the capacity of fp32, the ladder with a deadline: p99 over p50", 4.0, "x")
TAIL_IN_TIME = Bar(
    "mix at 70% of the capacity of fp32, the ladder with a deadline: answered in time",
    0.99,
    "%",
    at_least=True,
)
TAIL_FAILURES = Bar("mix at 70% of the capacity of fp32, the ladder with a deadline: failed requests", 0)

OVERLOAD_IN_TIME = Bar(
    "answered in time at 3 times the capacity, as a share of the capacity", 0.9, "%", at_least=True
)
OVERLOAD_P99 = Bar("p99 of what was answered", 25.0, "ms")
OVERLOAD_REJECTION = Bar("the longest rejection", 10.0, "ms")
OVERLOAD_NDCG_FP32 = Bar(
    "effective NDCG@10 of the ladder over fp32 alone, told a deadline or not, least of the loads too high for fp32",
    1.0,
    "x",
    at_least=True,
)
OVERLOAD_NDCG = Bar(
    "effective NDCG@10 of the ladder over the best of the other forms, least of the loads too high for fp32",
    1.0,
    "x",
    at_least=True,
)
OVERLOAD_FAILURES = Bar("neither answered rightly nor rejected", 0)

SWAPS_COUNT = Bar("hot swaps under load: taken up", 1000, at_least=True)
SWAPS_FAILURES = Bar("hot swaps under load: failed requests", 0)
SWAPS_P99 = Bar("hot swaps under load: p99 over the quiet p99", 1.5, "x")
SWAPS_MEMORY = Bar("hot swaps under load: growth of resident memory", 0.05, "%")

RECOMPRESSION_P99 = Bar("recompression beside full load on 2 cores: p99 over the quiet p99", 2.0, "x")
RECOMPRESSION_OPEN_P99 = Bar(
    "recompression beside an open loop at half of the capacity of 2 cores: p99 over the quiet p99", 2.0, "x"
)
RECOMPRESSION_FAILURES = Bar("recompression beside full load on 2 cores: failed requests", 0)

SHADOW_P99 = Bar("shadow that samples every answer, at 30% of the capacity: p99 over that without", 1.5, "x")
SHADOW_IN_TIME = Bar(
    "shadow at three times the capacity: answered in time, of what is without", 0.97, "%", at_least=True
)
SHADOW_FAILURES = Bar("shadow: neither answered rightly nor refused under overload", 0)
SHADOW_OVERLAP = Bar("shadow: exported overlap@10, how far it is from that of the graphs", 0.02)

MEMORY = 1.15
"""Proportional memory of several workers over that of one, with a table of 1 GB."""

SOAK_MEMORY = Bar("soak: growth of resident memory once settled", 0.02, "%")
SOAK_FAILURES = Bar("soak: failed requests", 0)

DEMO = {
    100: {
        "of_best_peer": Bar("demo, 100 candidates: times the best peer with fp32", 8.0, "x", at_least=True),
        "of_empty_route": Bar("demo, 100 candidates: of an empty FastAPI route", 0.45, "%", at_least=True),
    },
    1000: {
        "of_best_peer": Bar("demo, 1,000 candidates: times the best peer with fp32", 25.0, "x", at_least=True)
    },
}
"""By candidate count: in right answers per second."""


PEERS = {
    100: {
        "of_loop": Bar(
            "fp32, 100 candidates: of the same graph in a loop without a server", 0.7, "%", at_least=True
        ),
        "of_naive": Bar("fp32, 100 candidates: times a plain FastAPI service", 1.6, "x", at_least=True),
    },
    1000: {
        "of_loop": Bar(
            "fp32, 1,000 candidates: of the same graph in a loop without a server", 0.92, "%", at_least=True
        )
    },
}
"""By candidate count: in right answers per second, beside the peers."""


def memory_bar(workers: int) -> Bar:
    """The bar for so many workers."""
    return Bar(f"a table of 1 GB: memory of {workers} workers over that of one", MEMORY, "x")


def failures_of(outcomes: Mapping[str, int]) -> int:
    """Requests of a summary without a right answer."""
    return sum(count for outcome, count in outcomes.items() if outcome != "ok")


def ratio(above: float | None, below: float | None) -> float | None:
    """A ratio, where both sides were measured."""
    return None if above is None or not below else above / below
