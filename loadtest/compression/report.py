"""The comparison with other compression tools as Markdown: one table, the Pareto front, and who dominates whom."""

from typing import Any

from loadtest.compression.compare import BASELINE, OURS

# The demo's gate by point estimates: what other tools make is not judged by intervals.
LEAST_AUC_KEPT = 0.999
MOST_BATCH_DIFFERENCE = 1e-4
LEAST_DISTINCT = 0.9
_HEADS = (
    *(
        "Tool",
        "Setting",
        "Size",
        "Smaller",
        "AUC",
        "Keeps",
        "NDCG@10",
        "Distinct scores",
        "Moves with its batch",
    ),
    *("ms at 1", "ms at 100", "ms at 1,000", "Faster at 1,000", "Would serve", "Front"),
)


def comparison_table(result: dict[str, Any]) -> str:
    """Everything that was made, smallest first, the Pareto front marked; then what failed, in the tools' own words."""
    made = sorted((one for one in result["results"] if "failure" not in one), key=lambda one: one["bytes"])
    best = front(made)
    lines = [
        f"### Other compression tools, on the baseline of `{result['model']}`",
        "",
        _where(result),
        "",
        "| " + " | ".join(_HEADS) + " |",
        "|" + "---|" * len(_HEADS),
        *("| " + " | ".join(_cells(one, one in best)) + " |" for one in made),
        "",
        _legend(result),
        "",
        *_verdicts(made),
    ]
    failed = [one for one in result["results"] if "failure" in one]
    if failed:
        lines += ["", "What failed:", ""]
        lines += [f"- {one['tool']}, {one['setting']} ({one['how']}): `{one['failure']}`" for one in failed]
    notes = {one["tool"]: one["note"] for one in result["results"] if one.get("note")}
    if notes:
        lines += ["", *(f"{tool}: {note}." for tool, note in notes.items())]
    return "\n".join(lines)


def would_serve(one: dict[str, Any]) -> bool:
    """Whether a result keeps the rules that a variant of our own must keep."""
    return bool(
        one["auc_kept"] >= LEAST_AUC_KEPT
        and one["batch_difference"] <= MOST_BATCH_DIFFERENCE
        and one["distinct_score_ratio"] >= LEAST_DISTINCT
    )


def dominates(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether it is as small, as fast and as good as another, and better in something."""
    ours, theirs = _axes(one), _axes(other)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def front(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results that nothing dominates."""
    return [one for one in made if not any(dominates(other, one) for other in made)]


def best_of_ours(made: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The fastest of our own variants that would serve: what `auto` takes at 1,000 candidates."""
    ours = [one for one in made if one["tool"] == OURS and one["setting"] != BASELINE and would_serve(one)]
    return max(ours, key=_speedup, default=None)


def _verdicts(made: list[dict[str, Any]]) -> list[str]:
    best = best_of_ours(made)
    if best is None:
        return ["None of our own variants would serve."]
    theirs = [one for one in made if one["tool"] != OURS]
    above = [one for one in theirs if dominates(one, best)]
    below = [one for one in theirs if dominates(best, one)]
    serving = [one for one in theirs if would_serve(one)]
    named = ", ".join(f"{one['tool']} ({one['setting']})" for one in above) or "nothing"
    said = [
        f"Our best, `{best['setting']}`, is dominated by {named} of the {len(theirs)} results of other tools,",
        f"and dominates {len(below)} of them. {len(serving)} of the {len(theirs)} would serve.",
    ]
    return [" ".join(said)]


def _legend(result: dict[str, Any]) -> str:
    said = [
        f"{result['test_rows']:,} test rows, {result['lists']:,} lists of one positive among candidates never met,",
        f"{result['calibration_rows']:,} calibration rows, the same for all. Milliseconds are medians of `session.run`",
        f"with one thread over {result['samples']} runs in turns with the baseline.",
        f"*Would serve*: it keeps {LEAST_AUC_KEPT:.1%} of the AUC, no score moves by more than",
        f"{MOST_BATCH_DIFFERENCE:.0e} with its batch, and there are {LEAST_DISTINCT:.0%} as many distinct scores.",
        "*Front*: nothing else is as small, as fast at 1,000 candidates and as good in AUC, and better in one of them.",
    ]
    return " ".join(said)


def _axes(one: dict[str, Any]) -> tuple[float, float, float]:
    # Ratios to the baseline, because both sides of a ratio saw the same machine.
    return one["bytes"], 1 / _speedup(one), -one["auc"]


def _speedup(one: dict[str, Any]) -> float:
    return float(max(one["latency"], key=lambda latency: latency["candidates"])["speedup"])


def _cells(one: dict[str, Any], on_front: bool) -> list[str]:
    name = f"**{one['tool']}**" if one["tool"] == OURS else one["tool"]
    size = one["bytes"]
    return [
        *(name, f"`{one['setting']}`", f"{size / 1e6:.2f} MB", f"{one['smaller']:.1f}x"),
        *(f"{one['auc']:.4f}", f"{one['auc_kept']:.2%}", f"{one['ndcg_at_10']:.4f}"),
        *(f"{one['distinct_score_ratio']:.1%}", f"{one['batch_difference']:.0e}"),
        *(f"{latency['p50_ms']:.3f}" for latency in one["latency"]),
        *(f"{_speedup(one):.1f}x", "yes" if would_serve(one) else "no", "yes" if on_front else ""),
    ]


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    tools = "; ".join(
        f"{tool}: {', '.join(f'{name} {version}' for name, version in versions.items())}"
        for tool, versions in result["versions"].items()
    )
    return (
        f"{machine['cores']} cores of {machine['processor']} ({', '.join(machine['flags'])}), run on onnxruntime "
        f"{machine['versions']['onnxruntime']}, commit {machine['commit']}, {machine['at']}. Made with {tools}."
    )
