"""Product quantization: a row is cut into subvectors, and of each only the number of its nearest centroid is kept.

The centroids of each place are found by k-means (Jegou et al., Product Quantization for Nearest Neighbor Search, 2011)
over rows that weigh as much as they are looked up (Yu et al., MEC, arXiv 2502.15355): a row that nobody asks for may be
far off. Memory does not grow with the table: k-means sees a sample, and rows are assigned some at a time.
"""

from dataclasses import dataclass

import numpy as np

from app.encoding import Array

MAX_CLUSTERS = 256
"""A code is one byte."""
# 256 points for each centroid are enough for k-means; more move the centroids by little.
_SAMPLE = 65_536
_CHUNK_ROWS = 16_384


@dataclass(frozen=True)
class ProductCode:
    """A table [rows, subvectors * length], quantized."""

    codes: Array
    """uint8 [rows, subvectors]: the centroid of each subvector."""
    centroids: Array
    """float32 [subvectors, clusters, length]."""

    def decoded(self, rows: Array) -> Array:
        """The given rows as the codes have them, float32 [len(rows), subvectors * length]."""
        places = np.arange(len(self.centroids))
        return self.centroids[places, self.codes[rows]].reshape(len(rows), -1)


def subvector_length(width: int, most: int) -> int:
    """The longest subvector of at most `most` numbers that divides a row of `width` numbers."""
    return max(length for length in range(1, min(width, most) + 1) if width % length == 0)


def product_quantize(
    table: Array, weights: Array, length: int, clusters: int, iterations: int, seed: int
) -> ProductCode:
    """Quantize a table float32 [rows, width] whose rows weigh `weights` (>= 0, [rows], not all 0).

    `length` must divide `width`; `clusters` is at most MAX_CLUSTERS. Equal seeds give equal codes.
    """
    rows, width = table.shape
    rng = np.random.default_rng(seed)
    picked, mass = _sample(weights, rng)
    codes = np.empty((rows, width // length), dtype=np.uint8)
    found = []
    for place in range(width // length):
        part = slice(place * length, (place + 1) * length)
        centroids = _centroids(table[picked, part], mass, clusters, iterations, rng)
        codes[:, place] = _nearest(table[:, part], centroids)[0]
        found.append(centroids)
    return ProductCode(codes, np.stack(found))


def _sample(weights: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Row numbers that k-means looks at, and what each weighs: all rows, or draws in proportion to their weights."""
    if len(weights) <= _SAMPLE:
        return np.arange(len(weights)), weights.astype(np.float64)
    cumulative = np.cumsum(weights, dtype=np.float64)
    drawn = np.searchsorted(cumulative, rng.random(_SAMPLE) * cumulative[-1], side="right")
    rows, counts = np.unique(np.minimum(drawn, len(weights) - 1), return_counts=True)
    return rows, counts.astype(np.float64)


def _centroids(
    points: Array, mass: Array, clusters: int, iterations: int, rng: np.random.Generator
) -> Array:
    """Weighted k-means of points [n, length]: float32 [clusters, length]."""
    centroids = _spread_out(points, mass, clusters, rng)
    for _ in range(iterations):
        codes, errors = _nearest(points, centroids)
        sums = [np.bincount(codes, mass * column, minlength=clusters) for column in points.T]
        masses = np.bincount(codes, mass, minlength=clusters)
        used = masses > 0
        centroids[used] = (np.stack(sums, axis=1)[used] / masses[used, None]).astype(np.float32)
        # A centroid without points goes to where the error is largest.
        farthest = np.argsort(-errors * mass, kind="stable")[: np.count_nonzero(~used)]
        centroids[np.flatnonzero(~used)[: len(farthest)]] = points[farthest]
    return centroids


def _spread_out(points: Array, mass: Array, clusters: int, rng: np.random.Generator) -> Array:
    """Where k-means starts: each centroid a point, drawn by its mass and its squared distance to those before it.

    Arthur and Vassilvitskii, k-means++, SODA 2007.
    """
    centroids = np.empty((clusters, points.shape[1]), dtype=np.float32)
    chances = mass
    distances = np.full(len(points), np.inf)
    for position in range(clusters):
        cumulative = np.cumsum(chances)
        drawn = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
        centroids[position] = points[min(drawn, len(points) - 1)]
        differences = points - centroids[position]
        distances = np.minimum(distances, np.einsum("nd,nd->n", differences, differences))
        chances = mass * distances
    return centroids


def _nearest(points: Array, centroids: Array) -> tuple[Array, Array]:
    """Of each point [n, length] the number of its nearest centroid, uint8 [n], and its squared distance, float32 [n]."""
    codes = np.empty(len(points), dtype=np.uint8)
    errors = np.empty(len(points), dtype=np.float32)
    norms = np.einsum("kd,kd->k", centroids, centroids)
    for start in range(0, len(points), _CHUNK_ROWS):
        some = np.ascontiguousarray(points[start : start + _CHUNK_ROWS])
        # |p - c|^2 without |p|^2, which is the same for every centroid.
        partial = norms - 2.0 * (some @ centroids.T)
        nearest = partial.argmin(axis=1)
        codes[start : start + len(some)] = nearest
        least = partial[np.arange(len(some)), nearest] + np.einsum("nd,nd->n", some, some)
        errors[start : start + len(some)] = least
    return codes, errors
