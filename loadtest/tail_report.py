"""The tail's result file in words."""

from collections import Counter
from statistics import median
from typing import Any

from loadtest.bars_report import own_bars
from loadtest.overload_bars import REJECTIONS
from loadtest.peers_report import Result, head, row
from loadtest.tail import tail_of

_HEADS = (
    *("Form", "Sent", "p50 ms", "p99 ms", "p99 over p50", "In time", "Refused or dropped", "Late"),
    *("Other failures", "In time by variant", "Effective NDCG@10"),
)
_WORDS = (
    "Latencies and their ratio are medians of the turns. In time: within the deadline, or answered at all where none "
    "was told. The queue without a flaw has one server, first come, first served, and every request takes what its "
    "rows take at full throughput."
)


def tail_table(result: Result) -> str:
    """Each form over all rounds, and what an ideal queue would have done with the same arrivals."""
    plan = result["plan"]
    capacities = sorted({one["capacity_per_second"] for one in result["turns"]})
    by_form = {name: [one for one in result["turns"] if one["form"] == name] for name in plan["forms"]}
    ideal = [{"latency_ms": one} for one in result["ideal_latency_ms"]]
    done = (
        f"{plan['rounds']} rounds, {plan['seconds']:g} s of each form in each. The capacity of fp32 was "
        f"{capacities[0]:,.0f} to {capacities[-1]:,.0f}/s."
    )
    lines = [
        f"### Tail at {plan['share']:.0%} of the capacity of fp32, `{result['model']}`",
        "",
        *own_bars(result),
        done,
        "",
        *head(_HEADS),
        *(_line(name, turns) for name, turns in by_form.items()),
        row(["a queue without a flaw, fp32", "-", *_latency(ideal), *["-"] * 6]),
        "",
        _WORDS,
    ]
    return "\n".join(lines)


def _line(name: str, turns: list[dict[str, Any]]) -> str:
    offered = sum(one["offered"] for one in turns)
    outcomes, variants = Counter[str](), Counter[str]()
    for one in turns:
        outcomes.update(one["outcomes"])
        variants.update(one["in_time_by_variant"])
    others = {why: count for why, count in outcomes.items() if why not in {"ok", *REJECTIONS}}
    worth = [one["effective_ndcg_at_10"] for one in turns]
    cells = [name, f"{offered:,}", *_latency(turns), f"{sum(one['in_time'] for one in turns) / offered:.2%}"]
    cells += [f"{sum(outcomes[why] for why in REJECTIONS):,}", f"{sum(one['late'] for one in turns):,}"]
    cells.append(", ".join(f"{count:,} {why}" for why, count in others.items()) or "none")
    cells.append(", ".join(f"{variant} {count:,}" for variant, count in variants.items()) or "-")
    return row([*cells, "-" if None in worth else f"{median(worth):.4f}"])


def _latency(turns: list[dict[str, Any]]) -> list[str]:
    """p50, p99 and their ratio."""
    shown = []
    for p in ("p50", "p99"):
        found = [one["latency_ms"][p] for one in turns if p in one["latency_ms"]]
        shown.append(f"{median(found):.2f}" if found else "-")
    tail = tail_of(turns)
    return [*shown, "-" if tail is None else f"{tail:.2f}x"]
