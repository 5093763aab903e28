"""The bars of an overload, and how its turns are held against them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from loadtest.bars import (
    OVERLOAD_FAILURES,
    OVERLOAD_IN_TIME,
    OVERLOAD_NDCG,
    OVERLOAD_NDCG_FP32,
    OVERLOAD_P99,
    OVERLOAD_REJECTION,
    Bar,
    failures_of,
    ratio,
)

FP32, NO_DEADLINE, LADDER = "fp32 only", "fp32 only, told no deadline", "ladder"
_ANSWERED = 0.99
REFUSED = ("429", "503")
"""Told at once. 504 is another thing: let in, and then not scored by the deadline, which is when it is told."""
REJECTIONS = (*REFUSED, "504")


def against(found: Mapping[str, Any], capacity: float) -> dict[str, Any]:
    """What was reckoned, with its rate in time as a share of a capacity."""
    return {**found, "in_time_of_capacity": found["in_time_per_second"] / capacity}


def judged(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bars at several times a capacity."""
    form, whose = found["form"], found["capacity_of"]
    what = f"{form}, overloaded by the capacity of {whose}" if form != whose else f"{form}, overloaded"
    refused = [found["rejections"][status] for status in REFUSED]
    longest = [one["latency_ms"]["max"] for one in refused if one["count"]]
    failed = {why: count for why, count in found["outcomes"].items() if why not in REJECTIONS}
    figures: Sequence[tuple[Bar, float | None]] = (
        (OVERLOAD_IN_TIME, found["in_time_of_capacity"]),
        (OVERLOAD_P99, found["latency_ms"].get("p99")),
        (OVERLOAD_REJECTION, max(longest, default=0.0)),
        (OVERLOAD_FAILURES, failures_of(failed)),
    )
    return [replace(bar, what=f"{what}: {bar.what}").judged(value) for bar, value in figures]


def judged_curve(curve: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the ladder gains: its effective NDCG@10 over that of fp32 and over that of the best form, ladder apart.

    Ratios of the means of all turns at a load, and the least of the loads that fp32 cannot answer.
    """
    over_fp32, over_all = list[float | None](), list[float | None]()
    for load in sorted({one["load"] for one in curve}):
        worth = means_at(curve, load, "effective_ndcg_at_10")
        share = means_at(curve, load, "in_time_share")[FP32]
        if share is None or share >= _ANSWERED:
            continue
        others = [one for form, one in worth.items() if form != LADDER]
        over_all.append(ratio(worth[LADDER], _most(others)))
        over_fp32.append(ratio(worth[LADDER], _most([worth[FP32], worth.get(NO_DEADLINE, 0.0)])))
    return [OVERLOAD_NDCG_FP32.judged(_least(over_fp32)), OVERLOAD_NDCG.judged(_least(over_all))]


def means_at(curve: Sequence[Mapping[str, Any]], load: float, key: str) -> dict[str, float | None]:
    """A figure of each form at a load, the mean of its turns; None where one of them has none."""
    by_form: dict[str, list[float | None]] = {}
    for one in curve:
        if one["load"] == load:
            by_form.setdefault(one["form"], []).append(one[key])
    return {
        form: None if None in figures else fmean(one for one in figures if one is not None)
        for form, figures in by_form.items()
    }


def _most(figures: Sequence[float | None]) -> float | None:
    return None if None in figures else max(one for one in figures if one is not None)


def _least(figures: Sequence[float | None]) -> float | None:
    return None if None in figures or not figures else min(one for one in figures if one is not None)
