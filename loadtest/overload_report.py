"""The overload's result file in words and curves."""

from collections.abc import Mapping
from typing import Any

from loadtest.bars_report import own_bars
from loadtest.overload_bars import REFUSED, REJECTIONS, means_at
from loadtest.peers_report import Result, head, row
from loadtest.plots import curves


def overload_table(result: Result) -> str:
    """Capacities, every point of the curve, and what the bar was held against."""
    plan = result["plan"]
    capacities = ", ".join(
        f"{form} (`{result['forms'][form]}`) {rate:,.0f}/s" for form, rate in result["capacities"].items()
    )
    lines = [
        f"### Overload, `{result['model']}`, deadline {plan['deadline_ms']:g} ms",
        "",
        *own_bars(result),
        f"Capacities in a closed loop: {capacities}. Loads are multiples of that of: {plan['capacity_of']}.",
        "",
        *head(_HEADS),
    ]
    lines += [
        _line(one["form"], f"{one['load']:g}x, turn {one.get('turn', 1)}", one) for one in result["curve"]
    ]
    for one in result["at_the_bar"]:
        whose = "its own" if one["capacity_of"] == one["form"] else f"that of {one['capacity_of']}"
        lines.append(_line(one["form"], f"{plan['bar_load']:g}x {whose}, {plan['bar_seconds']:g} s", one))
    return "\n".join([*lines, "", _WORDS])


def overload_plots(result: Result) -> list[str]:
    """Curves over the load, a line for each form."""
    title, load = (
        f"Overload, {result['model']}",
        f"offered load, times the capacity ({result['plan']['capacity_of']})",
    )
    wanted = (
        ("answered in time, share of what was offered", "in_time_share"),
        ("answered in time, share of the form's own capacity", "in_time_of_capacity"),
        ("effective NDCG@10", "effective_ndcg_at_10"),
    )
    plots = [curves(f"{title}: {what}", load, _series(result, key)) for what, key in wanted]
    return [*plots, curves(f"{title}: the longest refusal (429, 503), ms", load, _longest(result))]


_WORDS = (
    "In time: answered rightly within the deadline after the moment at which the request was meant to be sent. "
    "Effective NDCG@10: for each answer in time the NDCG@10 that its variant was measured to have, "
    "over all that was offered. 429 and 503 are refused at once; 504 was let in and not scored by its deadline, "
    "and is told so then."
)
_HEADS = (
    *("Form", "Load", "Offered/s", "In time", "In time/s of capacity", "p99 ms", "Late"),
    *(f"{status}: number, p99 / max ms" for status in REJECTIONS),
    *("Other failures", "In time by variant", "Effective NDCG@10", "Sent late, p99 ms"),
)


def _line(form: str, load: str, one: Mapping[str, Any]) -> str:
    cells = [form, load, f"{one['rate']:,.0f}", f"{one['in_time_share']:.1%}"]
    cells += [f"{one['in_time_of_capacity']:.1%}", _ms(one["latency_ms"], "p99"), f"{one['late']:,}"]
    for rejected in one["rejections"].values():
        latency = rejected["latency_ms"]
        shown = f"{rejected['count']:,}, {_ms(latency, 'p99')} / {_ms(latency, 'max')}"
        cells.append(shown if rejected["count"] else "none")
    others = {why: n for why, n in one["outcomes"].items() if why not in {"ok", *REJECTIONS}}
    cells.append(", ".join(f"{count:,} {why}" for why, count in others.items()) or "none")
    cells.append(", ".join(f"{name} {count:,}" for name, count in one["in_time_by_variant"].items()) or "-")
    ndcg = one["effective_ndcg_at_10"]
    return row([*cells, "-" if ndcg is None else f"{ndcg:.4f}", _ms(one["sent_late_ms"], "p99")])


def _series(result: Result, key: str) -> dict[str, list[tuple[float, float]]]:
    """The means of all turns at each load."""
    found: dict[str, list[tuple[float, float]]] = {form: [] for form in result["forms"]}
    for load in sorted({one["load"] for one in result["curve"]}):
        for form, figure in means_at(result["curve"], load, key).items():
            if figure is not None:
                found[form].append((load, figure))
    return found


def _longest(result: Result) -> dict[str, list[tuple[float, float]]]:
    """The longest refusal of all turns at each load."""
    found: dict[str, dict[float, float]] = {form: {} for form in result["forms"]}
    for one in result["curve"]:
        longest, seen = _longest_rejection(one), found[one["form"]]
        if longest is not None:
            seen[one["load"]] = max(longest, seen.get(one["load"], 0.0))
    return {form: sorted(points.items()) for form, points in found.items()}


def _longest_rejection(one: Mapping[str, Any]) -> float | None:
    return max(
        (
            one["rejections"][status]["latency_ms"]["max"]
            for status in REFUSED
            if one["rejections"][status]["count"]
        ),
        default=None,
    )


def _ms(latency: Mapping[str, float], which: str) -> str:
    return f"{latency[which]:.1f}" if which in latency else "-"
