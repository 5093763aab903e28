"""The shadow's result file in words: what it costs, how much is dropped, and how true its figures are."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from loadtest.bars import failures_of
from loadtest.bars_report import own_bars
from loadtest.peers_report import Result, head, row
from loadtest.shadow import PROOF
from loadtest.turns import BESIDE, QUIET

_COSTS = (
    *("Load", "Sent", "p50 ms without", "with", "ratio", "p99 ms without", "with", "ratio"),
    *("Not answered without", "with", "Compared", "Dropped"),
)
_FIGURES = (
    *("Load", "Compared", "Overlap@10", "true", "Kendall's tau", "true", "Score distance", "true"),
    "Score difference, largest gap between the distributions",
)


def shadow_table(result: Result) -> str:
    """What each load saw of the shadow, then its figures beside the truth."""
    percent, ratio = result["plan"]["percent"], result["in_time_ratio"]
    in_time = "not measured" if ratio is None else f"{ratio:.1%}"
    proof = result[PROOF]
    rate, capacities = result["plan"]["proof_rate"], result["capacities_per_second"]
    capacity = f"{median(capacities):,.0f}/s [{min(capacities):,.0f}, {max(capacities):,.0f}]"
    sampling = (
        f"{percent:g}% of the answers are sampled. The capacity, found anew in each round, is {capacity}."
    )
    medians = f"Ratios are medians of those of neighbouring turns; that of answers in time is {in_time}."
    true = "The figures, and beside them those that the load test reckons from both graphs for all answers of a load."
    proven = (
        f"The proof is `{proof['variant']}` of `{proof['model']}` beside `{proof['against']}`, at {rate:g}/s."
    )
    lines = [
        f"### Shadow, `{result['model']}`, `{result['variant']}` beside `{result['against']}`",
        "",
        *own_bars(result),
        f"{sampling} {medians}",
        "",
        *head(_COSTS),
        *(_cost(result, load) for load in result["shadows"]),
        "",
        f"{true} {proven}",
        "",
        *head(_FIGURES),
        *(_figures(load, one) for load, one in {PROOF: proof, **result["shadows"]}.items()),
    ]
    return "\n".join(lines)


def _cost(result: Result, load: str) -> str:
    latency, ratios, told = result["latency_ms"][load], result["ratios"][load], result["shadows"][load]
    by_side = {
        side: [one for one in result["turns"] if (one["load"], one["side"]) == (load, side)]
        for side in (QUIET, BESIDE)
    }
    cells = [load, f"{sum(one['requests'] for one in by_side[BESIDE]):,}"]
    for p in ("p50", "p99"):
        cells += [f"{latency[side][p]:.2f}" if p in latency[side] else "-" for side in (QUIET, BESIDE)]
        cells.append("-" if ratios[p] is None else f"{ratios[p]:.2f}x")
    for turns in by_side.values():
        cells.append(f"{sum(failures_of(one['outcomes']) for one in turns):,}")
    dropped = (f"{count:,} {why}" for why, count in sorted(told["outcomes"].items()) if why != "compared")
    return row([*cells, _share(told), ", ".join(dropped) or "none"])


def _share(told: Mapping[str, Any]) -> str:
    compared, share = told["outcomes"].get("compared", 0), told["compared_share"]
    return "-" if share is None else f"{compared:,} ({share:.1%})"


def _figures(load: str, told: Mapping[str, Any]) -> str:
    found, truth = told["exported"], told["truth"]
    if found is None:
        return row([load, _share(told), *["-"] * (len(_FIGURES) - 2)])
    cells = [load, _share(told)]
    for name in ("overlap_at_10", "kendall_tau", "score_distance"):
        cells += [f"{found[name]:.4f}", f"{truth[name]:.4f}"]
    return row([*cells, f"{told['off']['score_difference']:.1%}"])
