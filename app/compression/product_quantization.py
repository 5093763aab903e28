"""Product quantization: a row is cut into subvectors, and of each only the number of its nearest centroid is kept.

The centroids of each place are found by k-means (Jegou et al., Product Quantization for Nearest Neighbor Search, 2011).
Rows may weigh differently, as in MEC (Wang et al., arXiv 2502.15355): one that nobody asks for may be far off. A place
with no more different subvectors than centroids, as tuned codebooks leave it, is kept as it is. Memory
grows with the codes alone: k-means sees a sample, and rows are assigned some at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from app.encoding import Array

MAX_CLUSTERS = 256
"""A code is one byte."""
# 256 points for each centroid are enough for k-means; more move the centroids by little.
_SAMPLE = 65_536
_CHUNK_ROWS = 16_384

Chunks = Callable[[], Iterator[tuple[int, Array]]]


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


@dataclass(frozen=True)
class Clustering:
    """How the centroids of each place are found."""

    length: int
    """Numbers of one subvector; it divides the table's width."""
    clusters: int
    """At most MAX_CLUSTERS."""
    iterations: int
    seed: int


def product_quantize(chunks: Chunks, weights: Array, clustering: Clustering) -> ProductCode:
    """Quantize a table whose rows weigh `weights` (float64 [rows], at least 0 and not all 0). Equal seeds, equal codes.

    `chunks()` gives the table from its start, some rows at a time: the first row's number and float32 [some, width].
    """
    rng = np.random.default_rng(clustering.seed)
    rows, mass = _sample(weights, rng)
    sample = _rows_of(chunks, rows)
    length = clustering.length
    parts = [slice(start, start + length) for start in range(0, sample.shape[1], length)]
    centroids = []
    for part in parts:
        few = _few(chunks, part, clustering.clusters)
        centroids.append(_centroids(sample[:, part], mass, clustering, rng) if few is None else few)
    codes = np.empty((len(weights), len(parts)), dtype=np.uint8)
    for start, values in chunks():
        for place, part in enumerate(parts):
            codes[start : start + len(values), place] = _nearest(values[:, part], centroids[place])[0]
    return ProductCode(codes, np.stack(centroids))


def _few(chunks: Chunks, part: slice, clusters: int) -> Array | None:
    """The different subvectors of a place, repeated up to [clusters, length]; None where there are more of them.

    A sample would miss those that only rare rows have.
    """
    found: Array | None = None
    for _, values in chunks():
        for start in range(0, len(values), _CHUNK_ROWS):
            some = values[start : start + _CHUNK_ROWS, part]
            found = np.unique(some if found is None else np.concatenate([found, some]), axis=0)
            if len(found) > clusters:
                return None
    assert found is not None, "a table has rows"
    return found[np.arange(clusters) % len(found)]


def _rows_of(chunks: Chunks, rows: Array) -> Array:
    """The given rows (ascending) of a table, float32 [len(rows), width]."""
    return np.concatenate(
        [
            values[rows[slice(*np.searchsorted(rows, [start, start + len(values)]))] - start]
            for start, values in chunks()
        ]
    )


def _sample(weights: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Row numbers that k-means looks at, and what each weighs: all rows, or draws in proportion to their weights."""
    if len(weights) <= _SAMPLE:
        return np.arange(len(weights)), weights
    cumulative = np.cumsum(weights)
    drawn = np.searchsorted(cumulative, rng.random(_SAMPLE) * cumulative[-1], side="right")
    rows, counts = np.unique(np.minimum(drawn, len(weights) - 1), return_counts=True)
    return rows, counts.astype(np.float64)


def _centroids(points: Array, mass: Array, clustering: Clustering, rng: np.random.Generator) -> Array:
    """Weighted k-means of points [n, length]: float32 [clusters, length]."""
    clusters = clustering.clusters
    centroids = _spread_out(points, mass, clusters, rng)
    for _ in range(clustering.iterations):
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
    """Of each point [n, length] its nearest centroid, uint8 [n], and the squared distance to it, float32 [n]."""
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
