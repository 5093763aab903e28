"""Scenarios as data: what is sent, and what happens beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from loadtest.bars import MIX_TAIL, SOAK_FAILURES, SOAK_MEMORY, Bar, failures_of, ratio
from loadtest.measure import Load

# Twentieths of the candidate counts of MLPerf's recommendation benchmark: mean 270.
MIX = ((100, 2.0), (200, 12.0), (300, 2.0), (400, 1.0), (500, 1.0), (600, 1.0), (700, 1.0))
TAIL = ((50, 600.0), (200, 250.0), (500, 100.0), (1000, 35.0), (2000, 10.0), (5000, 5.0))
HERD = ((100, 4.0), (5000, 1.0))
MIX_AT_70, LARGE_AND_SMALL = "mix at 70%", "100 and 5,000 candidates"
ONE_HUNDRED = ((100, 1.0),)
ONE_THOUSAND = ((1000, 1.0),)

Beside = Literal["nothing", "recompression", "swaps"]
Figure = Callable[[Mapping[str, Any]], float | None]
"""From what was found of a scenario to the figure that a bar is about; None: it could not be measured."""


@dataclass(frozen=True)
class Scenario:
    """A load for our own service. Rates are in shares of the capacity that the calibration found for the same mix."""

    name: str
    what: str
    mix: tuple[tuple[int, float], ...]
    shares: tuple[tuple[float, float], ...]
    """(share of the capacity, seconds) one after another."""
    beside: Beside = "nothing"
    bars: tuple[tuple[Bar, Figure], ...] = ()
    turns: int = 1
    """How often; each with the capacity as it is then. The turn that counts is the middle one by its p99."""
    watch_seconds: float | None = None
    """How often resident memory is looked at during the load; None: before and after it only."""

    @property
    def seconds(self) -> float:
        """How long requests are sent."""
        return sum(seconds for _, seconds in self.shares)

    def judged(self, found: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Its bars, held against what was found."""
        return [bar.judged(figure(found)) for bar, figure in self.bars]

    def load(self, capacity: float) -> Load:
        """The load against a service that can do `capacity` requests per second of this mix."""
        rates = tuple((share * capacity, seconds) for share, seconds in self.shares)
        return Load(self.name, rates=rates, mix=self.mix)


def counts_of(scenarios: tuple[Scenario, ...]) -> tuple[int, ...]:
    """Every candidate count that they ask for."""
    return tuple(sorted({count for one in scenarios for count, _ in one.mix}))


def p99_over_p50(found: Mapping[str, Any]) -> float | None:
    """How far the slow requests are from the usual ones; None with failures, which would be slower still."""
    latency = found["latency_ms"]
    return None if failures(found) else ratio(latency.get("p99"), latency.get("p50"))


def failures(found: Mapping[str, Any]) -> float:
    """Requests without a right answer."""
    return failures_of(found["outcomes"])


def resident_growth(found: Mapping[str, Any]) -> float | None:
    """Of resident memory once it has settled."""
    growth: float | None = found["resident"]["growth"]
    return growth


_AGAIN = "the variant is made again and again beside it, on the server's core"

SHORT = (
    Scenario("100 candidates", "half of the capacity", ONE_HUNDRED, ((0.5, 10),)),
    Scenario("1,000 candidates", "half of the capacity", ONE_THOUSAND, ((0.5, 10),)),
    Scenario("mix", "MLPerf-like candidate counts, mean 270", MIX, ((0.5, 10),)),
    Scenario(
        MIX_AT_70,
        "the same at 70% of the capacity",
        MIX,
        ((0.7, 40),),
        bars=((MIX_TAIL, p99_over_p50),),
        turns=3,
    ),
    Scenario("heavy tail", "50 to 5,000 candidates, mean 210", TAIL, ((0.5, 10),)),
    Scenario(LARGE_AND_SMALL, "80% of the capacity, nearly all of it for the large ones", HERD, ((0.8, 15),)),
    Scenario("ramp", "from 10% to 90% of the capacity", MIX, tuple((0.1 * step, 2) for step in range(1, 10))),
    Scenario("spike", "20%, then 150% for two seconds, then 20%", MIX, ((0.2, 4), (1.5, 2), (0.2, 6))),
    Scenario("overload", "three times the capacity", MIX, ((3.0, 6),)),
    Scenario("quiet", "30% of the capacity, with nothing beside it", MIX, ((0.3, 10),)),
    Scenario("recompression", f"the same; {_AGAIN}", MIX, ((0.3, 40),), beside="recompression"),
    Scenario(
        "swap storm",
        "the same; a version becomes active five times a second",
        MIX,
        ((0.3, 10),),
        beside="swaps",
    ),
)


def soak(minutes: float) -> tuple[Scenario, ...]:
    """Half of the capacity for a long time."""
    return (
        Scenario(
            "soak",
            f"half of the capacity for {minutes:g} minutes",
            MIX,
            ((0.5, minutes * 60),),
            bars=((SOAK_MEMORY, resident_growth), (SOAK_FAILURES, failures)),
            # Sixty looks in a short run; no more than one in five seconds, so that looking costs nothing.
            watch_seconds=min(5.0, minutes),
        ),
    )
