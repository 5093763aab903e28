"""How alike two variants really rank, by the scores of their graphs: what a service exports is held against it.

Nothing of the service's own reckoning is used. Every pair of candidates is looked at, which only a load test can
afford.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.asks import Ask, Truth

FIRST = 10
_MEANS = ("overlap_at_10", "kendall_tau", "score_distance")


@dataclass(frozen=True)
class Alike:
    """One list as two variants score it; a difference is the answer's score less the shadow's."""

    overlap_at_10: float
    kendall_tau: float
    score_difference: float
    score_distance: float


def alike(answered: np.ndarray, shadow: np.ndarray) -> Alike:
    """Of scores float32 [candidates] each, of the same two or more candidates in the same order."""
    served, other = answered.astype(np.float64), shadow.astype(np.float64)
    first, others = (set(np.argsort(-one, kind="stable")[:FIRST].tolist()) for one in (served, other))
    difference = served - other
    return Alike(
        len(first & others) / min(FIRST, len(served)),
        tau_b(answered, shadow),
        float(difference.mean()),
        float(np.abs(difference).mean()),
    )


def tau_b(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b by its definition, pair by pair. Raises ValueError where a side is all ties: it has none."""
    above = np.triu_indices(len(a), 1)
    of_a, of_b = (np.sign(one[above[0]] - one[above[1]]).astype(np.int64) for one in (a, b))
    untied = float(np.count_nonzero(of_a)) * float(np.count_nonzero(of_b))
    if not untied:
        raise ValueError("tau-b of scores that are all equal is undefined")
    return float((of_a * of_b).sum()) / float(np.sqrt(untied))


def alike_of(asks: Sequence[Ask], answered: Sequence[Truth], shadow: Sequence[Truth]) -> list[Alike]:
    """For each ask, what a comparison of the right answers of two variants gives."""
    found = []
    for ask, ours, theirs in zip(asks, answered, shadow, strict=True):
        scores = [
            np.array([one.scores[item] for item in ask.candidates], dtype=np.float32)
            for one in (ours, theirs)
        ]
        found.append(alike(*scores))
    return found


@dataclass(frozen=True)
class Told:
    """Comparisons of many requests, as a service exports them or as they should be."""

    count: int
    overlap_at_10: float
    kendall_tau: float
    score_distance: float
    score_difference: Mapping[float, float]
    """By upper bound the share of the comparisons that are not above it: Prometheus has no sum of signed values."""

    def as_json(self) -> dict[str, Any]:
        """For a result file."""
        means = {name: getattr(self, name) for name in _MEANS}
        bounds = {f"{bound:g}": share for bound, share in self.score_difference.items()}
        return {"count": self.count, **means, "score_difference": bounds}

    def off(self, truth: "Told") -> dict[str, float]:
        """How far each figure is from the truth; of the difference the largest gap between the two distributions."""
        means = {name: abs(getattr(self, name) - getattr(truth, name)) for name in _MEANS}
        bounds = self.score_difference
        gap = max(
            (abs(share - truth.score_difference[bound]) for bound, share in bounds.items()), default=0.0
        )
        return {**means, "score_difference": gap}


def told_of(by_ask: Sequence[Alike], asked: np.ndarray, bounds: Sequence[float]) -> Told:
    """What comparing these requests should give; `asked`: int64 [requests], the ask of each, at least one."""

    def values(name: str) -> np.ndarray:
        of_asks = np.array([getattr(one, name) for one in by_ask])
        chosen: np.ndarray = of_asks[asked]
        return chosen

    overlap, tau, distance = (float(values(name).mean()) for name in _MEANS)
    differences = values("score_difference")
    shares = {bound: float((differences <= bound).mean()) for bound in bounds}
    return Told(len(asked), overlap, tau, distance, shares)
