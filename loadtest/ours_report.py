"""Result files of our own service and of the instrument itself, in words."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from loadtest.bars_report import own_bars
from loadtest.peers_report import EMPTY, closed_loads, machine_line, rates
from loadtest.plots import curves
from loadtest.scenarios import LARGE_AND_SMALL, MIX_AT_70

Result = dict[str, Any]
ENOUGH = 2.0
"""The generator must be able to send that many times what it is used to measure."""


def ours_table(result: Result) -> str:
    """Our own service, scenario by scenario."""
    lines = [
        f"### Scenarios, `{result['model']}`, `{result['variant']}`",
        "",
        *own_bars(result),
        "| Scenario | What | Sent | Right/s | p50 ms | p95 ms | p99 ms | Failures | Beside it | PSS MB | Then, ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in result["scenarios"].items():
        latency = one["latency_ms"]
        shown = (f"{latency[p]:.2f}" if p in latency else "-" for p in ("p50", "p95", "p99"))
        memory = one["memory_after"]["proportional_bytes"] / 1e6
        failures = ", ".join(f"{count} {why}" for why, count in one["outcomes"].items() if why != "ok")
        beside = ", ".join(_note(what, note) for what, note in one["beside"].items())
        cells = [name, one["what"], f"{one['requests']:,}", f"{one['throughput']:.0f}", *shown]
        cells += [failures or "none", beside or "-", f"{memory:.0f}", f"{one['probe_ms_after']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(
        [*lines, *_ideal_lines(result), *_size_lines(result), *_resident_lines(result), *_cold_lines(result)]
    )


def resident_plots(result: Result) -> list[str]:
    """Resident memory over the time of those scenarios in which it was watched."""
    return [
        curves(
            f"{name}: resident memory of the process tree, MB",
            "minutes",
            {name: [(seconds / 60, size / 1e6) for seconds, size in one["resident"]["seen"]]},
        )
        for name, one in result["scenarios"].items()
        if "resident" in one
    ]


def _note(what: str, note: Any) -> str:
    """What was done beside a load, or how it failed."""
    if what == "error":
        return f"FAILED: {note}"
    return (
        f"a job running {note:.0%} of the time"
        if what == "running_share"
        else f"{note} {what.replace('_', ' ')}"
    )


def _ideal_lines(result: Result) -> list[str]:
    """What a queue without a flaw would have done, where a bar is about the tail."""
    found = []
    for name, one in result["scenarios"].items():
        ideal, ours = one.get("ideal_latency_ms", {}), one["latency_ms"]
        if "p99" in ideal and "p99" in ours and name == MIX_AT_70:
            found.append(
                f"\n{name}: p50 {ours['p50']:.2f} ms, p99 {ours['p99']:.2f} ms, {ours['p99'] / ours['p50']:.2f}x. "
                "A queue without a flaw (one server, first come, first served, each request at what it takes at full "
                f"throughput) would have answered the very same arrivals with p50 {ideal['p50']:.2f} ms, "
                f"p99 {ideal['p99']:.2f} ms, {ideal['p99'] / ideal['p50']:.2f}x."
            )
            each = [f"{t['p99'] / t['p50']:.2f}x" for t in one.get("latency_ms_of_turns", []) if "p99" in t]
            found += [f"That is the middle of {len(each)} turns: {', '.join(each)}."] if each else []
    return found


def _size_lines(result: Result) -> list[str]:
    """Whether small requests wait for large ones."""
    by_count = result["scenarios"].get(LARGE_AND_SMALL, {}).get("latency_ms_by_candidates", {})
    return [
        f"\n{LARGE_AND_SMALL}: {int(count):,} candidates take "
        + ", ".join(f"{p} {ms:.2f} ms" for p, ms in latency.items())
        + "."
        for count, latency in by_count.items()
    ]


def _resident_lines(result: Result) -> list[str]:
    watched = {name: one["resident"] for name, one in result["scenarios"].items() if "resident" in one}
    ends = {name: (one["seen"][0][1], one["seen"][-1][1]) for name, one in watched.items() if one["seen"]}
    return [
        f"\nResident memory in {name}: {first / 1e6:.0f} MB at first, {last / 1e6:.0f} MB at last."
        for name, (first, last) in ends.items()
    ]


def _cold_lines(result: Result) -> list[str]:
    if "cold" not in result:
        return []
    starts, first = result["cold"]["start_seconds"], result["cold"]["first_second"]
    start = f"{starts['median']:.2f} s [{starts['min']:.2f}, {starts['max']:.2f}]"
    cold = (
        f"Cold start, from the start of the process to its first right answer: {start}. Of {first['requests']} "
        f"requests in the first second of load after it, the longest took {first['longest_ms']:.1f} ms and "
        f"{first['failures']} failed."
    )
    return ["", "`Then` is one request two seconds after the load.", "", cold]


def fastest(results: Sequence[Result]) -> dict[str, float]:
    """By candidate count, the highest rate that was measured of anything."""
    found: dict[str, float] = {}
    for result in results:
        for load in closed_loads(result):
            count = load.split()[1]
            best = max(median(some) for name, some in rates(result, load).items() if name != EMPTY)
            found[count] = max(best, found.get(count, 0.0))
    return found


def check_table(result: Result, fastest_measured: dict[str, float]) -> str:
    """The instrument itself: what it can send, and what it sees."""
    counts = list(next(iter(result["rates"].values())))
    lines = [
        "### The instrument",
        "",
        machine_line(result),
        "",
        "| Server | " + " | ".join(f"{count} candidates, requests/s" for count in counts) + " |",
        "|" + "---|" * (len(counts) + 1),
    ]
    for name, by_count in result["rates"].items():
        lines.append(f"| {name} | " + " | ".join(f"{by_count[count]:,.0f}" for count in counts) + " |")
    null = result["rates"]["null server"]
    for count, rate in fastest_measured.items():
        times = null[count] / rate
        verdict = (
            "it is not the limit" if times >= ENOUGH else "IT IS THE LIMIT, and the table above shows less"
        )
        lines += [
            "",
            f"At {count} candidates the generator can send {times:.1f}x the fastest rate measured: {verdict}.",
        ]
    lines += _stall_lines(result)
    lines += ["", "| Planted fault | Seen |", "|---|---|"]
    lines += [f"| {fault} | {one['seen'] or 'nothing'} |" for fault, one in result["faults"].items()]
    return "\n".join(lines)


def _stall_lines(result: Result) -> list[str]:
    """How long the machine itself stands still: the least that a longest latency can be."""
    if "stalls" not in result:
        return []
    seconds, stalls = result["stalls"]["seconds"], result["stalls"]["ms"]
    longest = ", ".join(f"{one:.1f}" for one in stalls[:5]) or "none"
    told = f"In {seconds:g} s without a server, the servers' core stood still {len(stalls)} times for half a "
    return [
        "",
        f"{told}millisecond or more; the longest, in ms: {longest}. No latency can be told apart from these.",
    ]


def generators_table(result: Result) -> str:
    """Our generator beside others."""
    lines = [
        "### Generators against a server that does no work",
        "",
        machine_line(result),
        "",
        f"| Generator, one core, closed loop, {result['candidates']} candidates | Requests/s |",
        "|---|---|",
    ]
    for name, rate in result["per_second"].items():
        lines.append(f"| {name} | {'not installed' if rate is None else f'{rate:,.0f}'} |")
    return "\n".join(lines)
