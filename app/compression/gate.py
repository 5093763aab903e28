"""The gate: whether a variant may serve, and why, in one sentence.

A variant passes when its quality loss is within the model's budget at the lower confidence bound, its scores keep
their order whatever they are batched with, and it is smaller or faster than the baseline.
"""

import math

from app.model_card import Budget
from app.report import Agreement, Quality, Report, Verdict

# Timings on a shared machine differ by a few percent from run to run: a gain must be larger than that.
NOISE = 0.05


def judge(report: Report, budget: Budget) -> Verdict:
    """The verdict on a variant that was measured against the baseline."""
    if report.quality is None or report.agreement is None:
        return Verdict("rejected", "there are no test rows of both classes, so its quality cannot be proven")
    fault = (
        _quality_fault(report.quality, budget)
        or _stability_fault(report.agreement, budget)
        or _gain_fault(report)
    )
    if fault:
        return Verdict("rejected", fault)
    return Verdict("passed", _gain(report, report.quality))


def _quality_fault(quality: Quality, budget: Budget) -> str | None:
    kept = quality.auc_ratio.low
    # A ratio that is not a number compares false: it must not slip through.
    if not kept >= budget.auc:
        return f"it keeps {kept:.3%} of the baseline's AUC at the lower bound, and the budget asks for {budget.auc:.3%}"
    if budget.ndcg_at_10 is None:
        return None
    asked = f"and the budget asks for {budget.ndcg_at_10:.3%}"
    if quality.ndcg_at_10_ratio is None:
        return f"its NDCG@10 cannot be measured on these test rows, {asked}"
    kept = quality.ndcg_at_10_ratio.low
    if not kept >= budget.ndcg_at_10:
        return f"it keeps {kept:.3%} of the baseline's NDCG@10 at the lower bound, {asked}"
    return None


def _stability_fault(agreement: Agreement, budget: Budget) -> str | None:
    if not agreement.batch_difference <= budget.batch_difference:
        return (
            f"a score moves by up to {agreement.batch_difference:.1e} with the rows it is batched with, "
            f"and the budget allows {budget.batch_difference:.1e}"
        )
    if not agreement.distinct_score_ratio >= budget.distinct_score_ratio:
        return (
            f"it gives only {agreement.distinct_score_ratio:.1%} as many distinct scores as the baseline, "
            f"and the budget asks for {budget.distinct_score_ratio:.1%}: ties would be ranked at random"
        )
    return None


def _gain_fault(report: Report) -> str | None:
    smaller = report.size.compression_ratio > 1 + NOISE
    faster = _speedup(report) > 1 + NOISE
    return None if smaller or faster else "it is neither smaller nor faster than the baseline"


def _speedup(report: Report) -> float:
    largest = max(report.latency, key=lambda one: one.candidates, default=None)
    return largest.speedup if largest else math.nan


def _gain(report: Report, quality: Quality) -> str:
    largest = max(report.latency, key=lambda one: one.candidates)
    return (
        f"it keeps at least {quality.auc_ratio.low:.2%} of the baseline's AUC, is "
        f"{report.size.compression_ratio:.1f}x smaller and {largest.speedup:.1f}x as fast "
        f"at {largest.candidates:,} candidates"
    )
