"""The gate, rule by rule: what is not proven does not pass."""

import math
from typing import Any

import msgspec
import pytest
from app.compression.gate import NOISE, judge
from app.model_card import Budget
from app.report import Agreement, Interval, Latency, Quality, Report, Size
from hypothesis import given
from hypothesis import strategies as st

from tests.compression.parts import a_machine

NAN = math.nan
GOOD = Report(
    quality=Quality(
        rows=1000,
        users=50,
        auc=Interval(0.8, 0.79, 0.81),
        auc_ratio=Interval(1.0, 0.9995, 1.0005),
        gauc=0.75,
        log_loss=0.5,
        normalized_entropy=0.8,
        calibration_error=0.01,
        ndcg_at_10=Interval(0.4, 0.3, 0.5),
        ndcg_at_10_ratio=Interval(0.99, 0.95, 1.03),
        hit_rate_at_10=Interval(0.6, 0.5, 0.7),
    ),
    agreement=Agreement(0.95, 0.9, 0.01, 1.0, 1e-7, 0.01),
    slices=[],
    size=Size(1_000_000, 250_000, 4.0),
    latency=[Latency(1, 600, 0.1, 0.2, 0.9), Latency(1000, 600, 1.0, 2.0, 1.8)],
    machine=a_machine(),
    seconds=1.0,
)
BUDGET = Budget()


def changed(report: Report, part: str, **values: Any) -> Report:
    inner = msgspec.structs.replace(getattr(report, part), **values)
    return msgspec.structs.replace(report, **{part: inner})


def with_ratio(low: float, high: float = 1.1) -> Report:
    return changed(GOOD, "quality", auc_ratio=Interval(1.0, low, high))


def with_gain(smaller: float, faster: float) -> Report:
    report = changed(GOOD, "size", compression_ratio=smaller)
    return msgspec.structs.replace(report, latency=[GOOD.latency[0], Latency(1000, 600, 1.0, 2.0, faster)])


def refused(report: Report, budget: Budget = BUDGET) -> str:
    verdict = judge(report, budget)
    assert verdict.outcome == "rejected"
    assert not verdict.may_serve
    return verdict.reason


def test_a_good_variant_passes_with_what_it_gains() -> None:
    verdict = judge(GOOD, BUDGET)
    assert verdict.may_serve
    assert (verdict.outcome, verdict.reason) == (
        "passed",
        "it keeps at least 99.95% of the baseline's AUC, is 4.0x smaller and 1.8x as fast at 1,000 candidates",
    )


@pytest.mark.parametrize("part", ["quality", "agreement"])
def test_without_rows_that_tell_nothing_is_proven(part: str) -> None:
    assert refused(msgspec.structs.replace(GOOD, **{part: None})) == (
        "there are no test rows of both classes, so its quality cannot be proven"
    )


def test_the_lower_bound_of_the_auc_ratio_decides() -> None:
    assert judge(with_ratio(0.999), BUDGET).may_serve
    assert refused(with_ratio(0.9989, high=1.5)) == (
        "it keeps 99.890% of the baseline's AUC at the lower bound, and the budget asks for 99.900%"
    )
    assert judge(with_ratio(0.9989), Budget(auc=0.95)).may_serve


def test_the_ndcg_counts_only_where_the_budget_names_it() -> None:
    assert judge(changed(GOOD, "quality", ndcg_at_10_ratio=Interval(0.1, 0.0, 0.2)), BUDGET).may_serve
    assert judge(GOOD, Budget(ndcg_at_10=0.95)).may_serve
    assert refused(GOOD, Budget(ndcg_at_10=0.96)) == (
        "it keeps 95.000% of the baseline's NDCG@10 at the lower bound, and the budget asks for 96.000%"
    )


def test_an_ndcg_that_cannot_be_measured_is_not_kept() -> None:
    report = changed(GOOD, "quality", ndcg_at_10=None, ndcg_at_10_ratio=None, hit_rate_at_10=None)
    assert judge(report, BUDGET).may_serve
    assert refused(report, Budget(ndcg_at_10=0.5)) == (
        "its NDCG@10 cannot be measured on these test rows, and the budget asks for 50.000%"
    )


def test_scores_must_not_move_with_their_batch() -> None:
    assert judge(changed(GOOD, "agreement", batch_difference=1e-4), BUDGET).may_serve
    moved = changed(GOOD, "agreement", batch_difference=2e-4)
    assert refused(moved) == (
        "a score moves by up to 2.0e-04 with the rows it is batched with, and the budget allows 1.0e-04"
    )
    assert judge(moved, Budget(batch_difference=1e-3)).may_serve


def test_scores_must_stay_distinct() -> None:
    assert judge(changed(GOOD, "agreement", distinct_score_ratio=0.9), BUDGET).may_serve
    tied = changed(GOOD, "agreement", distinct_score_ratio=0.25)
    assert refused(tied) == (
        "it gives only 25.0% as many distinct scores as the baseline, and the budget asks for 90.0%: "
        "ties would be ranked at random"
    )
    assert judge(tied, Budget(distinct_score_ratio=0.2)).may_serve


@pytest.mark.parametrize(
    ("smaller", "faster", "passes"),
    [
        (1 + NOISE, 1 + NOISE, False),
        (1.06, 0.5, True),
        (0.5, 1.06, True),
        (0.99, 0.99, False),
        (NAN, 1.0, False),
        (1.0, NAN, False),
        (NAN, NAN, False),
    ],
)
def test_it_must_be_smaller_or_faster_by_more_than_noise(smaller: float, faster: float, passes: bool) -> None:
    verdict = judge(with_gain(smaller, faster), BUDGET)
    assert verdict.may_serve == passes
    assert passes or verdict.reason == "it is neither smaller nor faster than the baseline"


def test_speed_is_judged_at_the_largest_candidate_count() -> None:
    slow_where_it_counts = [Latency(1000, 600, 1.0, 2.0, 0.5), Latency(1, 600, 0.1, 0.2, 9.0)]
    report = changed(
        msgspec.structs.replace(GOOD, latency=slow_where_it_counts), "size", compression_ratio=1.0
    )
    assert refused(report) == "it is neither smaller nor faster than the baseline"


@pytest.mark.parametrize(
    "report",
    [
        with_ratio(NAN),
        changed(GOOD, "agreement", batch_difference=NAN),
        changed(GOOD, "agreement", distinct_score_ratio=NAN),
    ],
)
def test_what_is_not_a_number_never_passes(report: Report) -> None:
    assert "nan" in refused(report)


def test_an_ndcg_ratio_that_is_not_a_number_never_passes() -> None:
    report = changed(GOOD, "quality", ndcg_at_10_ratio=Interval(NAN, NAN, NAN))
    assert "nan" in refused(report, Budget(ndcg_at_10=0.1))


NUMBERS = st.floats(0, 2) | st.just(NAN)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_every_verdict_is_one_sentence_and_only_what_keeps_every_rule_passes(
    auc: float, ndcg: float, batch: float, distinct: float, smaller: float, faster: float
) -> None:
    report = with_gain(smaller, faster)
    report = changed(report, "agreement", batch_difference=batch, distinct_score_ratio=distinct)
    report = changed(report, "quality", auc_ratio=Interval(1, auc, 2), ndcg_at_10_ratio=Interval(1, ndcg, 2))
    verdict = judge(report, Budget(ndcg_at_10=0.9))
    assert "\n" not in verdict.reason
    assert not verdict.reason.endswith(".")
    assert ". " not in verdict.reason
    kept = auc >= 0.999 and ndcg >= 0.9 and batch <= 1e-4 and distinct >= 0.9
    assert verdict.may_serve == (kept and (smaller > 1 + NOISE or faster > 1 + NOISE))
