"""Ranking quality in numbers: from labels and scores, with tied scores counted fairly.

`auc`, `gauc`, `log_loss`, `normalized_entropy` and `calibration_error` look at rows; `ndcg_of_rank` and `hit_of_rank`
look at the rank of one held-out positive among its candidates. Bootstrap intervals resample users with all of their
rows or lists, which resemble each other. Ratios are paired: both sides see the same resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from app.report import Interval

Floats = npt.NDArray[np.floating]
CONFIDENCE = 0.95
RESAMPLES = 1000
FEW_USERS = 30
"""Fewer clusters give intervals that are too narrow (Cameron, Gelbach and Miller, REStat 2008)."""
_EPSILON = 1e-7


@dataclass(frozen=True)
class SortedScores:
    """Scores sorted once, so that the AUC under many sets of row weights costs one pass each."""

    positive: Floats
    """1.0 for a positive row, 0.0 for a negative one, by ascending score."""
    order: npt.NDArray[np.int64]
    group_starts: npt.NDArray[np.int64]
    """Where each run of equal scores begins."""

    @classmethod
    def of(cls, labels: Floats, scores: Floats) -> "SortedScores":
        """Sort rows by score; a label of at least 0.5 is a positive."""
        order = np.argsort(scores, kind="stable")
        ascending = scores[order]
        starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
        return cls((labels[order] >= 0.5).astype(np.float64), order, starts)

    def auc(self, weights: Floats | None = None) -> float:
        """Area under the ROC curve, ties counting one half; NaN when a class is absent."""
        weight = np.ones(len(self.order)) if weights is None else weights[self.order]
        positive = np.add.reduceat(weight * self.positive, self.group_starts)
        negative = np.add.reduceat(weight * (1.0 - self.positive), self.group_starts)
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        return float((positive * (below + 0.5 * negative)).sum() / pairs) if pairs else float("nan")


def auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting one half."""
    return SortedScores.of(labels, scores).auc()


def auc_intervals(
    labels: Floats, scores: Floats, baseline: Floats, users: npt.NDArray[np.int64], seed: int
) -> tuple[Interval, Interval]:
    """AUC, and its ratio to the baseline's AUC on the same rows, with percentile bootstrap intervals over users.

    A resample takes a user with all rows of that user, as in `mean_intervals`; below FEW_USERS it takes rows, because
    few users tell nothing of how users differ. All arguments are [rows].
    """
    rng = np.random.default_rng(seed)
    ours, theirs = SortedScores.of(labels, scores), SortedScores.of(labels, baseline)
    _, owner = np.unique(users, return_inverse=True)
    drawn = int(owner.max(initial=-1)) + 1
    if drawn < FEW_USERS:
        owner, drawn = np.arange(len(labels)), len(labels)
    values, ratios = np.empty(RESAMPLES), np.empty(RESAMPLES)
    for resample in range(RESAMPLES):
        times = np.bincount(rng.integers(drawn, size=drawn), minlength=drawn).astype(np.float64)
        weights = times[owner]
        values[resample] = ours.auc(weights)
        ratios[resample] = values[resample] / max(theirs.auc(weights), _EPSILON)
    return _interval(ours.auc(), values), _interval(ours.auc() / max(theirs.auc(), _EPSILON), ratios)


def mean_intervals(
    values: Floats, baseline: Floats, users: npt.NDArray[np.int64], seed: int
) -> tuple[Interval, Interval]:
    """The mean over lists, and its ratio to the baseline's mean, with percentile bootstrap intervals over users.

    A resample takes a user with all lists of that user, because those resemble each other (the cluster bootstrap:
    Field and Welsh, Bootstrapping Clustered Data, JRSS B 2007); below FEW_USERS it takes lists, as `auc_intervals`
    takes rows. `values`, `baseline` and `users` are [lists].
    """
    rng = np.random.default_rng(seed)
    _, user = np.unique(users, return_inverse=True)
    if int(user.max(initial=-1)) + 1 < FEW_USERS:
        user = np.arange(len(values))
    lists = np.bincount(user)
    sums = np.stack([np.bincount(user, weights=one) for one in (values, baseline)])
    means = np.empty((RESAMPLES, 2))
    for resample in range(RESAMPLES):
        times = np.bincount(rng.integers(len(lists), size=len(lists)), minlength=len(lists))
        means[resample] = sums @ times / (lists @ times)
    ratio = float(values.mean() / max(baseline.mean(), _EPSILON))
    ratios = means[:, 0] / np.maximum(means[:, 1], _EPSILON)
    return _interval(float(values.mean()), means[:, 0]), _interval(ratio, ratios)


def _interval(value: float, resampled: Floats) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def gauc(labels: Floats, scores: Floats, users: npt.NDArray[np.int64]) -> float:
    """AUC per user, averaged by the user's rows; users with one class only do not count (Zhou et al., DIN, 2018)."""
    total = weight = 0.0
    order = np.argsort(users, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        value = auc(labels[rows], scores[rows])
        if not np.isnan(value):
            total += value * len(rows)
            weight += len(rows)
    return total / weight if weight else float("nan")


def log_loss(labels: Floats, scores: Floats) -> float:
    """Mean binary cross entropy, in nats."""
    p = np.clip(scores.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def normalized_entropy(labels: Floats, scores: Floats) -> float:
    """Log loss over the entropy of the base rate; below 1 beats a constant guess (He et al., 2014)."""
    base = np.full(len(labels), labels.mean())
    return log_loss(labels, scores) / log_loss(labels, base)


def calibration_error(labels: Floats, scores: Floats, bins: int = 20) -> float:
    """Mean gap between predicted and observed positive rate over equally filled bins of scores."""
    order = np.argsort(scores, kind="stable")
    gaps = [(abs(labels[b].mean() - scores[b].mean()), len(b)) for b in np.array_split(order, bins) if len(b)]
    return float(sum(gap * count for gap, count in gaps) / len(labels))


def rank_of_first(lists: Floats) -> Floats:
    """Rank (from 1) of column 0 in each row of scores [users, candidates]; ties take the mean of their ranks."""
    first, others = lists[:, :1], lists[:, 1:]
    return np.asarray(1.0 + (others > first).sum(axis=1) + 0.5 * (others == first).sum(axis=1))


def ndcg_of_rank(ranks: Floats, k: int = 10) -> Floats:
    """NDCG@k of lists with one relevant item at the given ranks."""
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def hit_of_rank(ranks: Floats, k: int = 10) -> Floats:
    """1.0 where the relevant item is among the first k."""
    return (ranks <= k).astype(np.float64)


def overlap_at_k(lists: Floats, baseline: Floats, k: int = 10) -> float:
    """Mean share of the baseline's first k candidates that are among ours, over rows of [users, candidates]."""
    ours = np.argsort(-lists, axis=1, kind="stable")[:, :k]
    theirs = np.argsort(-baseline, axis=1, kind="stable")[:, :k]
    same = [len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(ours, theirs, strict=True)]
    return float(np.mean(same) / min(k, lists.shape[1]))


def kendall_tau(lists: Floats, baseline: Floats) -> float:
    """Mean Kendall tau-b between our order and the baseline's, over rows of [users, candidates]."""
    correlate: Callable[[Floats, Floats], float] = lambda a, b: float(stats.kendalltau(a, b).statistic)  # noqa: E731
    taus = [correlate(a, b) for a, b in zip(lists, baseline, strict=True)]
    return float(np.nanmean(taus)) if not np.isnan(taus).all() else 0.0
