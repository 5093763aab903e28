"""Result files of quiet turns and turns with something beside them, in words: swaps, and recompression."""

from loadtest.bars import failures_of
from loadtest.bars_report import own_bars
from loadtest.peers_report import Result, head, row


def swaps_table(result: Result) -> str:
    """How the swaps went, and what the requests saw of them."""
    took = result["take_up_seconds"]
    before, after = (f"{result['resident_bytes'][when] / 1e6:.0f} MB" for when in ("before", "after"))
    pace = f", each taken up after {took['median']:.3f} s (longest {took['max']:.3f} s)" if took else ""
    changes = f"from one answer to the next the version changed {result['changes_in_answers']:,} times"
    load = f"The load was {result['share']:.0%} of {result['capacity_per_second']:,.0f}/s."
    lines = [
        f"### Hot swaps, `{result['model']}`, `{result['variant']}`",
        "",
        *own_bars(result),
        f"{result['swaps']:,} swaps{pace}; {changes}. {load}",
        "",
        f"Resident memory of the process tree: {before} before, {after} after it had settled.",
        "",
        *(f"Beside the load something failed: {error}.\n" for error in result["errors"]),
    ]
    return "\n".join([*lines, *_sides(result)])


def recompression_table(result: Result) -> str:
    """Whether a job really ran, and what the requests saw of it."""
    jobs = result["jobs"]
    lines = [
        f"### Recompression beside full load, `{result['model']}`, `{result['variant']}`, {result['workers']} workers",
        "",
        *own_bars(result),
    ]
    for number, one in enumerate(jobs, start=1):
        error = f"; it failed: {one['error']}" if "error" in one else ""
        ran = f"{one['running_share']:.0%} of the time and had {one['core_share']:.0%} of a core"
        ended = f"{one['jobs_succeeded']} ended well, {one['jobs_failed']} failed{error}"
        lines.append(f"Round {number}: a job was running for {ran}; {ended}.\n")
    return "\n".join([*lines, *_sides(result)])


def _sides(result: Result) -> list[str]:
    """A line for each load and side; percentiles pool the turns."""
    lines = head(
        [
            "Load",
            "Side",
            "Turns",
            "Sent",
            "Right/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "Failures",
            "p99 over quiet",
        ]
    )
    for load, by_side in result["latency_ms"].items():
        for side, latency in by_side.items():
            turns = [one for one in result["turns"] if (one["load"], one["side"]) == (load, side)]
            sent = sum(one["requests"] for one in turns)
            seconds = sum(one["seconds"] for one in turns)
            failed = sum(failures_of(one["outcomes"]) for one in turns)
            rate = (sent - failed) / seconds if seconds else 0.0
            shown = [f"{latency[p]:.2f}" if p in latency else "-" for p in ("p50", "p95", "p99")]
            times = result["p99_ratio"][load]
            over = "" if side == "quiet" else "-" if times is None else f"{times:.2f}x"
            lines.append(
                row([load, side, str(len(turns)), f"{sent:,}", f"{rate:.0f}", *shown, f"{failed:,}", over])
            )
    return lines
