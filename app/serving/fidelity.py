"""How alike two rankings of the same candidates are, without scipy: serving does not have it."""

import math
from dataclasses import dataclass

import numpy as np

from app.encoding import Array

FIRST = 10
TAU_ROWS = 2048
"""Kendall's tau of longer lists is that of so many of their rows, at even distances."""


@dataclass(frozen=True)
class Fidelity:
    """One list as two variants score it; a difference is the served score less the other's."""

    overlap_at_10: float
    """Share of the other's first ten that are among the served first ten."""
    kendall_tau: float
    mean_difference: float
    mean_absolute_difference: float


def compare(served: Array, other: Array) -> Fidelity:
    """Compare finite scores, float [rows] each, of the same two or more candidates in the same order."""
    difference = served.astype(np.float64) - other
    step = -(-len(served) // TAU_ROWS)
    return Fidelity(
        overlap_at_10(served, other),
        kendall_tau(served[::step], other[::step]),
        float(difference.mean()),
        float(np.abs(difference).mean()),
    )


def overlap_at_10(served: Array, other: Array) -> float:
    """Share of the first ten (of all, where there are fewer) that both have; equal scores keep their order."""
    ours, theirs = (np.argsort(-scores, kind="stable")[:FIRST] for scores in (served, other))
    return len(np.intersect1d(ours, theirs, assume_unique=True)) / min(FIRST, len(served))


def kendall_tau(a: Array, b: Array) -> float:
    """Kendall's tau-b in O(n log n) (Knight, A computer method for calculating Kendall's tau, JASA 1966).

    Where one side is all ties, tau-b is undefined. Then it counts as 0, for such scores rank nothing; as 1, when both
    sides are so.
    """
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    pairs = len(a) * (len(a) - 1) // 2
    of_a, of_b = pairs - _tied(a[1:] != a[:-1]), pairs - _tied(np.diff(np.sort(b)) != 0)
    if of_a == 0 or of_b == 0:
        return float(of_a == of_b)
    both = _tied((a[1:] != a[:-1]) | (b[1:] != b[:-1]))
    # Pairs that differ on both sides, less twice those of them that stand the other way round.
    agreeing = of_a + of_b - pairs + both - 2 * inversions(b)
    return agreeing / math.sqrt(of_a * of_b)


def _tied(changes: Array) -> int:
    """Pairs of equals in a sorted list, of which is known where the next value differs from the one before."""
    ends = np.flatnonzero(np.concatenate(([True], changes, [True])))
    run = np.diff(ends)
    return int((run * (run - 1) // 2).sum())


def inversions(values: Array) -> int:
    """Pairs of positions whose values stand in descending order, counted by a merge sort from the bottom up."""
    size = 1 << max(0, len(values) - 1).bit_length()
    # Ranks, so that what fills the last block up is above them all and in no such pair.
    rows = np.full(size, len(values), dtype=np.int64)
    rows[: len(values)] = np.unique(values, return_inverse=True)[1]
    found, width = 0, 1
    while width < size:
        blocks = rows.reshape(-1, 2 * width)
        # Both halves of a block are sorted; a stable sort merges them, equals of the left half first.
        order = np.argsort(blocks, axis=1, kind="stable")
        places = int(np.nonzero(order >= width)[1].sum())
        # One of the right half at place p, the r-th there, has p - r of the left half before it, and w - (p - r) after.
        found += len(blocks) * (width * width + width * (width - 1) // 2) - places
        rows = np.take_along_axis(blocks, order, axis=1).ravel()
        width *= 2
    return found
