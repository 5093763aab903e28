"""What an exported figure is held against: comparisons pair by pair, and scrapes whose numbers are known."""

from typing import Any

import numpy as np
import pytest
from loadtest.asks import Ask, Truth
from loadtest.exported import NOTHING, read
from loadtest.fidelity import Alike, alike, alike_of, tau_b, told_of
from loadtest.samples import Samples
from loadtest.shadow import ENOUGH, asked_of, furthest_overlap, in_time_ratio
from loadtest.turns import BESIDE, QUIET, Turns
from scipy.stats import kendalltau

from tests.loadtest.test_bars import samples_of

_OURS = 'model="m",variant="small",against="baseline"'


def scrape(compared: int, busy: int, overlaps: float) -> str:
    """As the service writes it; each difference is 0.01, and another shadow was compared a thousand times."""
    lines = ["# TYPE slimrank_shadow_requests_total counter"]
    lines += [
        f'slimrank_shadow_requests_total{{{_OURS},outcome="{outcome}"}} {count}.0'
        for outcome, count in (("compared", compared), ("busy", busy))
    ]
    lines.append(
        f'slimrank_shadow_requests_total{{{_OURS.replace("small", "other")},outcome="compared"}} 1000.0'
    )
    for name, total in (
        ("overlap_at_10", overlaps),
        ("kendall_tau", 0.5 * compared),
        ("score_distance", 0.1 * compared),
    ):
        lines += [f"# TYPE slimrank_shadow_{name} histogram"]
        lines += [f'slimrank_shadow_{name}_bucket{{{_OURS},le="+Inf"}} {compared}.0']
        lines += [f"slimrank_shadow_{name}_count{{{_OURS}}} {compared}.0"]
        lines += [f"slimrank_shadow_{name}_sum{{{_OURS}}} {total}"]
    lines += ["# TYPE slimrank_shadow_score_difference histogram"]
    lines += [
        f'slimrank_shadow_score_difference_bucket{{{_OURS},le="{le}"}} {count}.0'
        for le, count in (("0.0", 0), ("0.01", compared), ("+Inf", compared))
    ]
    lines += [f"slimrank_shadow_score_difference_count{{{_OURS}}} {compared}.0"]
    return "\n".join(lines) + "\n"


def of_ours(text: str) -> Any:
    return read(text, "m", "small", "baseline")


def test_what_was_exported_between_two_scrapes_of_several_turns() -> None:
    first = of_ours(scrape(10, 5, 8.0)).since(NOTHING)
    later = of_ours(scrape(30, 5, 24.0)).since(of_ours(scrape(20, 5, 20.0)))
    assert first.outcomes == {"compared": 10, "busy": 5}
    assert later.outcomes == {"compared": 10}
    both = NOTHING.and_also(first).and_also(later)
    assert both.sampled == 25
    told = both.told()
    assert told is not None
    assert (told.count, told.overlap_at_10) == (20, pytest.approx(12 / 20))
    assert (told.kendall_tau, told.score_distance) == (pytest.approx(0.5), pytest.approx(0.1))
    assert told.score_difference == {0.0: 0.0, 0.01: 1.0, float("inf"): 1.0}
    assert NOTHING.told() is None


def test_lists_are_compared_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    for rows in (2, 9, 60):
        # Few distinct scores: ties on both sides, which tau-b counts apart.
        a, b = (rng.integers(0, 6, rows).astype(np.float32) for _ in range(2))
        a[:2], b[:2] = [0, 1], [1, 0]
        assert tau_b(a, b) == pytest.approx(kendalltau(a, b).statistic)
    with pytest.raises(ValueError, match="undefined"):
        tau_b(np.zeros(3, np.float32), np.arange(3, dtype=np.float32))
    falling = np.arange(20, 0, -1, dtype=np.float32)
    other = falling.copy()
    other[9] = 0.5  # the tenth falls to the end, and the eleventh takes its place
    found = alike(falling, other)
    assert found.overlap_at_10 == pytest.approx(0.9)
    assert found.score_difference == found.score_distance == pytest.approx(10.5 / 20)
    assert found.kendall_tau == pytest.approx(1 - 2 * 10 / 190)
    lower = alike(falling, falling + 1)
    assert (lower.score_difference, lower.score_distance, lower.kendall_tau) == (-1.0, 1.0, 1.0)


def test_each_request_counts_in_the_truth_as_often_as_it_was_answered() -> None:
    by_ask = [Alike(1.0, 1.0, -0.2, 0.2), Alike(0.5, 0.0, 0.2, 0.4)]
    truth = told_of(by_ask, np.array([0, 1, 1, 1]), [0.0, 0.2])
    assert (truth.count, truth.overlap_at_10, truth.kendall_tau) == (4, 0.625, 0.25)
    assert truth.score_distance == pytest.approx(0.35)
    assert truth.score_difference == {0.0: 0.25, 0.2: 1.0}
    exported = told_of(by_ask, np.array([0, 1]), [0.0, 0.2])
    assert exported.off(truth) == {
        "overlap_at_10": pytest.approx(0.125),
        "kendall_tau": pytest.approx(0.25),
        "score_distance": pytest.approx(0.05),
        "score_difference": pytest.approx(0.25),
    }


def test_scores_of_both_variants_stand_in_the_order_of_the_candidates() -> None:
    asks = [Ask("u", ("a", "b", "c"), 2)]
    ours, theirs = (
        Truth({"c": 0.1, "b": 0.5, "a": 0.9}, 0.5, 2),
        Truth({"a": 0.9, "b": 0.1, "c": 0.5}, 0.5, 2),
    )
    (found,) = alike_of(asks, [ours], [theirs])
    assert found.overlap_at_10 == 1.0
    assert found.kendall_tau == pytest.approx(1 / 3)
    assert found.score_difference == pytest.approx(0.0)


def test_what_was_refused_is_not_sampled() -> None:
    samples = samples_of([1.0] * 3, [200, 429, 200], [""] * 3)
    samples.asks = np.arange(len(samples.asks))
    assert asked_of(samples).tolist() == [0, 2]


def test_neighbours_are_compared_with_each_other_not_with_what_the_machine_did_later() -> None:
    turns = Turns()
    for side, took, in_time in (
        *((QUIET, 1.0, 100), (BESIDE, 1.5, 97)),
        *((BESIDE, 30.0, 10), (QUIET, 20.0, 10)),  # the machine was slow for a while
        *((QUIET, 1.0, 100), (BESIDE, 1.4, 96)),
    ):
        samples: Samples = samples_of([took] * 1000, [200] * 1000, [""] * 1000)
        turns.take(side, "open", samples, in_time=in_time)
    assert turns.between_neighbours("open", "p99") == pytest.approx(1.5)
    assert turns.between_neighbours("open", "p99.9") is None
    assert in_time_ratio(turns, "open") == pytest.approx(0.97)
    assert in_time_ratio(turns, "another") is None


def test_the_furthest_overlap_is_that_of_loads_with_enough_comparisons_and_the_proof_is_one() -> None:
    def told(compared: int, off: float) -> dict[str, Any]:
        return {"outcomes": {"compared": compared}, "off": {"overlap_at_10": off}}

    proof, other, few = told(ENOUGH, 0.01), told(ENOUGH, 0.02), told(ENOUGH - 1, 0.5)
    assert furthest_overlap([proof, other, few]) == 0.02
    assert furthest_overlap([few, proof]) is None
