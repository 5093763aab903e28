"""Metrics, against slow definitions that follow their words."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from app.training.metrics import (
    SortedScores,
    auc,
    calibration_error,
    gauc,
    hit_of_rank,
    kendall_tau,
    log_loss,
    ndcg_of_rank,
    normalized_entropy,
    overlap_at_k,
    rank_of_first,
)
from hypothesis import assume, given
from hypothesis import strategies as st

Floats = npt.NDArray[np.float64]
# Few different values, so that ties are common.
SCORE = st.integers(0, 6).map(lambda value: value / 6)
ROWS = st.lists(
    st.tuples(st.booleans(), SCORE, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=25
)
LISTS = st.integers(2, 6).flatmap(
    lambda width: st.lists(
        st.tuples(*(st.lists(SCORE, min_size=width, max_size=width) for _ in range(2))),
        min_size=1,
        max_size=4,
    )
)


def columns(rows: list[tuple[bool, float, int, int]]) -> tuple[Floats, Floats, npt.NDArray[np.int64], Floats]:
    labels, scores, users, weights = zip(*rows, strict=True)
    return np.array(labels, float), np.array(scores), np.array(users), np.array(weights, float)


def slow_auc(labels: Floats, scores: Floats) -> float:
    pairs = list(itertools.product(scores[labels == 1], scores[labels == 0]))
    won = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    return won / len(pairs) if pairs else math.nan


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[bool, float, int, int]]) -> None:
    labels, scores, _, _ = columns(rows)
    assert auc(labels, scores) == pytest.approx(slow_auc(labels, scores), nan_ok=True)


@given(ROWS)
def test_a_row_of_weight_n_counts_as_n_rows(rows: list[tuple[bool, float, int, int]]) -> None:
    labels, scores, _, weights = columns(rows)
    counts = weights.astype(int)
    expected = slow_auc(np.repeat(labels, counts), np.repeat(scores, counts))
    assert SortedScores.of(labels, scores).auc(weights) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_has_no_auc(label: float) -> None:
    labels, scores = np.full(4, label), np.array([0.1, 0.2, 0.3, 0.3])
    assert math.isnan(auc(labels, scores))
    assert math.isnan(gauc(labels, scores, np.array([0, 0, 1, 1])))


def test_auc_of_known_orders() -> None:
    labels = np.array([0, 0, 1, 1])
    assert auc(labels, np.array([1, 2, 3, 4])) == 1.0
    assert auc(labels, np.array([4, 3, 2, 1])) == 0.0
    assert auc(labels, np.zeros(4)) == 0.5
    assert auc(np.array([0.4, 0.5]), np.array([1, 2])) == 1.0, "a label of at least 0.5 is a positive"


@given(ROWS)
def test_gauc_weighs_users_of_both_classes_by_their_rows(rows: list[tuple[bool, float, int, int]]) -> None:
    labels, scores, users, _ = columns(rows)
    parts = [
        (slow_auc(labels[users == user], scores[users == user]), (users == user).sum()) for user in set(users)
    ]
    counted = [(value, count) for value, count in parts if not math.isnan(value)]
    total = sum(count for _, count in counted)
    expected = sum(value * count for value, count in counted) / total if total else math.nan
    assert gauc(labels, scores, users) == pytest.approx(expected, nan_ok=True)


@given(ROWS)
def test_log_loss_and_normalized_entropy(rows: list[tuple[bool, float, int, int]]) -> None:
    labels, scores, _, _ = columns(rows)
    clipped = [min(max(score, 1e-7), 1 - 1e-7) for score in scores]
    losses = [-math.log(p if label else 1 - p) for label, p in zip(labels, clipped, strict=True)]
    loss = sum(losses) / len(losses)
    assert log_loss(labels, scores) == pytest.approx(loss)
    rate = labels.mean()
    assume(0 < rate < 1)
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert normalized_entropy(labels, scores) == pytest.approx(loss / entropy)


def test_scores_of_exactly_0_and_1_have_a_finite_loss() -> None:
    labels = np.array([0.0, 1.0])
    assert log_loss(labels, np.array([0.0, 1.0], dtype=np.float32)) == pytest.approx(0, abs=1e-6)
    assert log_loss(labels, np.array([1.0, 0.0], dtype=np.float32)) == pytest.approx(
        -math.log(1e-7), rel=1e-3
    )


def test_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    labels = np.array([0, 1, 1, 1, 0, 0])
    scores = np.array([0.1, 0.9, 0.8, 0.7, 0.3, 0.2])
    assert calibration_error(labels, scores, bins=2) == pytest.approx((0.2 + 0.2) / 2)
    assert calibration_error(labels, scores, bins=1) == pytest.approx(0)
    assert calibration_error(labels, scores, bins=50) == pytest.approx(
        (0.1 + 0.1 + 0.2 + 0.3 + 0.3 + 0.2) / 6
    )


def test_calibrated_scores_have_a_small_calibration_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    labels = (rng.random(50_000) < p).astype(float)
    assert calibration_error(labels, p) < 0.015
    assert calibration_error(labels, p**2) > 0.1


@given(LISTS)
def test_the_rank_of_a_tie_is_the_mean_of_its_places(lists: list[tuple[list[float], list[float]]]) -> None:
    scores = np.array([one for one, _ in lists])
    for row, rank in zip(scores, rank_of_first(scores), strict=True):
        places = [place for place, value in enumerate(sorted(row, reverse=True), start=1) if value == row[0]]
        assert rank == pytest.approx(sum(places) / len(places))


def test_ndcg_and_hits_of_a_rank() -> None:
    ranks = np.array([1.0, 2.0, 3.0, 10.0, 10.5, 11.0])
    expected = [1, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0, 0]
    np.testing.assert_allclose(ndcg_of_rank(ranks), expected)
    assert hit_of_rank(ranks).tolist() == [1, 1, 1, 1, 0, 0]
    assert ndcg_of_rank(ranks, k=2).tolist()[2:] == [0, 0, 0, 0]
    assert hit_of_rank(ranks, k=3).tolist() == [1, 1, 1, 0, 0, 0]


@given(LISTS, st.integers(1, 8))
def test_overlap_is_the_share_of_the_baselines_first(
    lists: list[tuple[list[float], list[float]]], k: int
) -> None:
    ours, theirs = (np.array(side) for side in zip(*lists, strict=True))

    def first(row: Floats) -> set[int]:
        return set(sorted(range(len(row)), key=lambda place: (-row[place], place))[:k])

    shares = [len(first(a) & first(b)) / min(k, ours.shape[1]) for a, b in zip(ours, theirs, strict=True)]
    assert overlap_at_k(ours, theirs, k) == pytest.approx(sum(shares) / len(shares))
    assert overlap_at_k(ours, ours, k) == 1.0


def slow_tau_b(a: Floats, b: Floats) -> float:
    signs = [
        (np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in itertools.combinations(range(len(a)), 2)
    ]
    tied = math.sqrt(sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs))
    return sum(x * y for x, y in signs) / tied if tied else math.nan


@given(LISTS)
def test_kendall_tau_counts_pairs_in_the_same_order(lists: list[tuple[list[float], list[float]]]) -> None:
    ours, theirs = (np.array(side) for side in zip(*lists, strict=True))
    taus = [slow_tau_b(a, b) for a, b in zip(ours, theirs, strict=True)]
    known = [tau for tau in taus if not math.isnan(tau)]
    expected = sum(known) / len(known) if known else 0.0
    assert kendall_tau(ours, theirs) == pytest.approx(expected)
