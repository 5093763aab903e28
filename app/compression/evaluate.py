"""What a variant is worth: its ranking quality against the truth, and how far it agrees with the baseline.

Rows of the test split give AUC and its kin. Ranked lists give NDCG@10 and hit rate@10: each positive test row among
candidates that its user never interacted with (one held-out positive among 100 candidates, as in He et al., Neural
Collaborative Filtering, 2017). Rows and lists of one user resemble each other, so all intervals resample users.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.compression.scorer import Scorer
from app.compression.unmet import Unmet
from app.encoding import Array
from app.report import Agreement, Interval, Quality, Slice
from app.schema import Side
from app.training import metrics
from app.training.rows import Prepared, Rows

LIST_LENGTH = 100
MAX_ROWS = 200_000
MAX_LISTS = 10_000
# Fewer lists tell agreement as well, and a rank correlation of each takes long.
MAX_LISTS_OF_AGREEMENT = 2_000
_LISTS_PER_RUN = 20
_BATCH_PROBE_ROWS = 256


@dataclass(frozen=True)
class Lists:
    """Candidates to rank: row 0 of each list is the held-out positive."""

    users: Array
    """User rows, int64 [lists]."""
    row: Array
    """The test row of each positive, int64 [lists]: its context and history are the request's."""
    items: Array
    """Item rows, int64 [lists, candidates]."""


@dataclass(frozen=True)
class Scores:
    """What one graph says of everything that evaluation asks."""

    rows: Array
    """float32 [test rows]."""
    lists: Array
    """float32 [lists, candidates]."""
    unknown_user: Array
    """float32 [candidates]: a user out of vocabulary."""
    batch_difference: float
    """Largest change of a score when its row is run alone instead of among others."""


class Evaluation:
    """The questions, the same for the baseline and every variant, and the baseline's answers."""

    def __init__(self, prepared: Prepared, baseline: Scorer, seed: int = 0) -> None:
        self.prepared = prepared
        self.seed = seed
        self.rows = asked_rows(prepared, seed)
        self.lists = make_lists(prepared, self.rows, seed)
        self.baseline = self.ask(baseline)

    def ask(self, scorer: Scorer) -> Scores:
        """Run one graph over all questions."""
        return Scores(
            rows=scorer.score_rows(self.rows),
            lists=self._score_lists(scorer),
            unknown_user=self._score_unknown_user(scorer),
            batch_difference=self._batch_difference(scorer),
        )

    def quality(self, scores: Scores) -> Quality | None:
        """Quality against the truth, with the ratios to the baseline; None where all rows are of one class."""
        labels = self.rows.labels
        if len(np.unique(labels >= 0.5)) < 2:
            return None
        auc, auc_ratio = metrics.auc_intervals(
            labels, scores.rows, self.baseline.rows, self.rows.user_row, self.seed
        )
        ndcg, ndcg_ratio = self._of_lists(scores, metrics.ndcg_of_rank)
        hits, _ = self._of_lists(scores, metrics.hit_of_rank)
        gauc = metrics.gauc(labels, scores.rows, self.rows.user_row)
        return Quality(
            rows=len(labels),
            users=len(np.unique(self.lists.users)),
            auc=auc,
            auc_ratio=auc_ratio,
            gauc=None if np.isnan(gauc) else gauc,
            log_loss=metrics.log_loss(labels, scores.rows),
            normalized_entropy=metrics.normalized_entropy(labels, scores.rows),
            calibration_error=metrics.calibration_error(labels, scores.rows),
            ndcg_at_10=ndcg,
            ndcg_at_10_ratio=ndcg_ratio,
            hit_rate_at_10=hits,
        )

    def agreement(self, scores: Scores) -> Agreement:
        """Agreement with the baseline's own scores."""
        base = self.baseline
        lists, theirs = scores.lists[:MAX_LISTS_OF_AGREEMENT], base.lists[:MAX_LISTS_OF_AGREEMENT]
        distinct = len(np.unique(scores.rows)) / max(1, len(np.unique(base.rows)))
        return Agreement(
            overlap_at_10=metrics.overlap_at_k(lists, theirs) if len(lists) else None,
            kendall_tau=metrics.kendall_tau(lists, theirs) if len(lists) else None,
            largest_score_difference=float(np.abs(scores.rows - base.rows).max(initial=0.0)),
            distinct_score_ratio=distinct,
            batch_difference=scores.batch_difference,
            unknown_user_difference=float(np.abs(scores.unknown_user - base.unknown_user).max(initial=0.0)),
        )

    def _of_lists(
        self, scores: Scores, of_rank: Callable[[Array], Array]
    ) -> tuple[Interval | None, Interval | None]:
        """A metric of the ranks of the held-out positives, and its ratio to the baseline's."""
        if not len(scores.lists):
            return None, None
        ours, theirs = (of_rank(metrics.rank_of_first(one.lists)) for one in (scores, self.baseline))
        return metrics.mean_intervals(ours, theirs, self.lists.users, self.seed)

    def slices(self, scores: Scores) -> list[Slice]:
        """AUC where data are thin: the quarter of users with the fewest training rows; all but the top items."""
        found = []
        for name, rows in self._thin_rows.items():
            labels = self.rows.labels[rows]
            ours, theirs = (
                metrics.auc(labels, scores.rows[rows]),
                metrics.auc(labels, self.baseline.rows[rows]),
            )
            if not np.isnan(ours + theirs):
                found.append(Slice(name, len(rows), ours, theirs))
        return found

    @cached_property
    def _thin_rows(self) -> dict[str, Array]:
        train, rows = self.prepared.train, self.rows
        user_counts = np.bincount(train.user_row, minlength=len(self.prepared.user_ids))
        item_counts = np.bincount(train.item_row, minlength=len(self.prepared.item_ids))
        cold = user_counts[rows.user_row] <= np.quantile(user_counts, 0.25)
        tail = item_counts[rows.item_row] <= np.quantile(item_counts, 0.75)
        return {"cold_users": np.flatnonzero(cold), "tail_items": np.flatnonzero(tail)}

    def _score_lists(self, scorer: Scorer) -> Array:
        count, length = self.lists.items.shape
        scores = np.empty((count, length), dtype=np.float32)
        for start in range(0, count, _LISTS_PER_RUN):
            some = slice(start, start + _LISTS_PER_RUN)
            row_request = np.repeat(np.arange(len(self.lists.row[some]), dtype=np.int64), length)
            inputs = self._list_inputs(self.lists.row[some], self.lists.items[some].ravel())
            scores[some] = scorer.run(inputs, row_request).reshape(-1, length)
        return scores

    def _list_inputs(self, rows: Array, items: Array) -> dict[str, Array]:
        """Request features of the given test rows, and item features of the given item rows."""
        schema = self.prepared.encoder.schema
        values = self.rows.inputs(rows)
        inputs = {feature.name: values[feature.name] for feature in schema.request_features}
        return inputs | {f.name: self.rows.items[f.name][items] for f in schema.item_features}

    def _score_unknown_user(self, scorer: Scorer) -> Array:
        schema, encoder = self.prepared.encoder.schema, self.prepared.encoder
        items = np.arange(min(LIST_LENGTH, len(self.prepared.item_ids)), dtype=np.int64)
        inputs = self._list_inputs(np.zeros(1, dtype=np.int64), items)
        inputs |= {feature.name: encoder.missing(feature.name, 1) for feature in schema.of_side(Side.USER)}
        return scorer.run(inputs, np.zeros(len(items), dtype=np.int64))

    def _batch_difference(self, scorer: Scorer) -> float:
        rows = np.arange(min(_BATCH_PROBE_ROWS, len(self.rows)), dtype=np.int64)
        inputs = self.rows.inputs(rows)
        together = scorer.run(inputs, rows)
        one = np.zeros(1, dtype=np.int64)
        alone = [scorer.run({k: v[i : i + 1] for k, v in inputs.items()}, one) for i in range(len(rows))]
        return float(np.abs(together - np.concatenate(alone)).max(initial=0.0)) if alone else 0.0


def asked_rows(prepared: Prepared, seed: int) -> Rows:
    """The test rows that evaluation looks at: all of them, or as many as `MAX_ROWS`, drawn by seed."""
    if len(prepared.test) <= MAX_ROWS:
        return prepared.test
    picked = np.random.default_rng(seed).choice(len(prepared.test), size=MAX_ROWS, replace=False)
    return prepared.test.take(np.sort(picked))


def make_lists(prepared: Prepared, rows: Rows, seed: int) -> Lists:
    """One list for each positive among `rows`, in random order: it, and items that its user never interacted with.

    Users who have interacted with so much of the catalog that no such items are left have no list.
    """
    rng = np.random.default_rng(seed)
    unmet = Unmet([prepared.train, prepared.validation, prepared.test])
    length = min(LIST_LENGTH, max(2, len(prepared.item_ids) // 2))
    positives = np.flatnonzero(rows.labels >= 0.5)
    enough = unmet.count(rows.user_row[positives]) >= length - 1
    picked = rng.permutation(positives[enough])[:MAX_LISTS]
    users = rows.user_row[picked]
    others = unmet.draw_distinct(users, length - 1, rng)
    return Lists(users, picked, np.concatenate([rows.item_row[picked, None], others], axis=1))
