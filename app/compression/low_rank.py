"""A matrix as the product of two thin ones that keep what matters of it.

What the rows of a matrix `w` are multiplied by decides which of its directions matter. Where `w` maps inputs x to
outputs x w, no product of rank r comes nearer to the outputs, in the mean of their squares, than the projection of the
outputs onto the first r eigenvectors u of their second moment, `w.T E[x.T x] w`. That is again a product with x:
x (w u) u.T. Where all inputs are alike, it is the truncated singular value decomposition of w (Eckart and Young, 1936).
"""

from dataclasses import dataclass

import numpy as np

from app.encoding import Array


@dataclass(frozen=True)
class Spectrum:
    """The directions of some outputs, and how much of the outputs lies in each."""

    energies: Array
    """Sum of squares along each direction, float64 [n], descending."""
    directions: Array
    """Orthonormal columns, float64 [n, n]."""

    @classmethod
    def of(cls, moment: Array) -> "Spectrum":
        """That of outputs with this second moment: symmetric, float64 [n, n]."""
        energies, directions = np.linalg.eigh(moment)
        return cls(np.maximum(energies[::-1], 0.0), directions[:, ::-1])

    def rank(self, energy: float) -> int:
        """The fewest directions, at least 1, that hold this share of the energy."""
        held = np.cumsum(self.energies)
        return min(int(np.searchsorted(held, energy * held[-1])) + 1, len(held))

    def factors(self, matrix: Array, rank: int) -> tuple[Array, Array]:
        """Two matrices, float64 [m, rank] and [rank, n], whose product stands for `matrix`, [m, n]."""
        kept = self.directions[:, :rank]
        return matrix @ kept, np.ascontiguousarray(kept.T)


def balanced(rank: int) -> list[int]:
    """The numbers below `rank` in an order whose parts of 2, 4, 8 ... that follow each other have about equal sums.

    Columns by descending energy, in this order, are cut into subvectors of about equal products of energies, which is
    how product quantization loses least (Ge et al., Optimized Product Quantization, TPAMI 2014, section 3.2). It is
    the order of the players of a tournament.
    """
    order = [0]
    while len(order) < rank:
        last = 2 * len(order) - 1
        order = [one for first in order for one in (first, last - first)]
    return [one for one in order if one < rank]


def most_rank(rows: int, columns: int, share: float = 1.0) -> int:
    """The largest rank with which both factors together have at most `share` of the matrix's numbers; below, for 1.

    At `share` 1 a rank that does not save anything is none: the factors must have fewer numbers than the matrix.
    """
    total = rows * columns
    most = int(share * total) if share < 1 else total - 1
    return most // (rows + columns)
