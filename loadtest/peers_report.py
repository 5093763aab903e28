"""The peers' result files in words: tables of rates and ratios, plots, and whether two runs agree."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean, median
from typing import Any

from loadtest.plots import bars

OURS = "slimrank"
NAIVE = "fastapi"
EMPTY = "empty FastAPI route"
AGREES_WITHIN = 0.10

Result = dict[str, Any]


def machine_line(result: Result) -> str:
    """Where and when, in one line."""
    machine = result["machine"]
    flags = ", ".join(machine["flags"])
    return (
        f"{machine['cores']} cores of {machine['processor']} ({flags}), kernel {machine['kernel']}, "
        f"onnxruntime {machine['versions']['onnxruntime']}, commit {machine['commit']}, {machine['at']}"
    )


def closed_loads(result: Result) -> list[str]:
    """Names of the closed loops, which find the most that a server can do."""
    return [load for load in _loads(result) if load.startswith("closed")]


def rates(result: Result, load: str) -> dict[str, list[float]]:
    """Right answers per second of each server, one for each round, at the core's median speed."""
    usual = _usual_speed(result)
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn in result["turns"]:
        if turn["load"] == load:
            found[turn["server"]][turn["round"]].append(turn["throughput"] * usual / turn["speed"])
    # The naive server has two turns in a round.
    return {name: [mean(by_round[n]) for n in sorted(by_round)] for name, by_round in found.items()}


def loop_rates(result: Result, load: str, *, json_bodies: bool) -> list[float]:
    """Requests per second of the ranker without HTTP, one for each round, at the core's median speed."""
    count, usual = int(load.split()[1]), _usual_speed(result)
    loops = [one for one in result["bare_loop"] if one["candidates"] == count and one["json"] == json_bodies]
    return [one["per_second"] * usual / one["speed"] for one in loops]


def _usual_speed(result: Result) -> float:
    return median(turn["speed"] for turn in result["turns"])


def ratios(result: Result, load: str, to: str = OURS) -> dict[str, list[float]]:
    """Each server's rate over that of `to`, pair by pair within a round."""
    found = rates(result, load)
    base = found.get(to, [])
    return {name: [a / b for a, b in zip(some, base, strict=True)] for name, some in found.items() if base}


def peers_table(result: Result) -> str:
    """Side by side, as medians over the rounds [least, most]."""
    closed, opened = closed_loads(result), [load for load in _loads(result) if load.startswith("open")]
    heads = ["Server", *(f"right answers/s, {n}" for n in closed), *(f"of {OURS}, {n}" for n in closed)]
    heads += [*(f"p50 / p95 / p99 ms, {n}" for n in opened), "RSS / PSS MB", "start s", "failures"]
    lines = [
        f"### Peers, `{result['model']}`, `{result['variant']}`",
        "",
        machine_line(result),
        "",
        *head(heads),
    ]
    for name in _by_rate(result, closed[-1]):
        server = result["servers"][name]
        cells = [name, *(_spread(rates(result, load)[name], 0) for load in closed)]
        cells += [_spread(ratios(result, load).get(name, []), 2) for load in closed]
        cells += [_latency(server["latency_ms"].get(load, {})) for load in opened]
        resident, proportional = (
            f"{server['memory'][kind] / 1e6:.0f}" for kind in ("resident_bytes", "proportional_bytes")
        )
        start, failures = f"{server['start_seconds']:.1f}", str(_failures(result, name))
        lines.append(row([*cells, f"{resident} / {proportional}", start, failures]))
    lines += ["", *_loop_lines(result, closed), "", *_drift(result, closed), "", _speed_line(result)]
    lines += ["", "How each of them runs:", ""]
    lines += [f"{name}: {_versions(one)}{one['note']}." for name, one in result["servers"].items()]
    lines += [f"{name} did not start and is left out." for name in result["not_started"]]
    return "\n".join(lines)


def short_table(results: Sequence[Result]) -> str:
    """For the README: right answers per second of every server, by graph and candidate count, and its memory."""
    columns = [(result, load) for result in results for load in closed_loads(result)]
    heads = [f"`{result['variant']}`, {load.removeprefix('closed, ')}" for result, load in columns]
    lines = head(["Server, right answers/s on one core", *heads, "MB, shared pages once"])
    for name in _by_rate(*columns[-1]):
        if name == EMPTY:
            continue
        found = [rates(result, load).get(name) for result, load in columns]
        cells = [f"{median(some):,.0f}" if some else "-" for some in found]
        memory = [
            one["servers"][name]["memory"]["proportional_bytes"] for one in results if name in one["servers"]
        ]
        shown = f"**{name}**" if name == OURS else name
        lines.append(row([shown, *cells, f"{median(memory) / 1e6:.0f}"]))
    loops = [f"{median(loop_rates(result, load, json_bodies=False)):,.0f}" for result, load in columns]
    lines.append(row(["the same ranker in a loop, no server", *loops, ""]))
    bench = results[0]["bench"]
    failures = sum(
        _failures(result, name) for result in results for name in result["servers"] if name != EMPTY
    )
    how = f"Medians of {bench['rounds']} rounds, {bench['connections']} connections"
    what = f"{how}, {failures} failed or wrong answers"
    return "\n".join([*lines, "", f"{what}; {machine_line(results[0])}."])


def agreement(newer: Result, older: Result) -> str:
    """How far the ratio tables of two runs differ, in one sentence; only those of one commit and plan can."""
    which = f"`{newer['model']}`, `{newer['variant']}`"
    between = f"runs of {older['machine']['at']} and {newer['machine']['at']}"
    if any(_what_ran(newer)[key] != _what_ran(older)[key] for key in _what_ran(newer)):
        return f"{which}: the newest two are of different commits or plans ({between})."
    differences = [
        (abs(median(now) / median(ratios(older, load)[name]) - 1), name, load)
        for load in closed_loads(newer)
        for name, now in ratios(newer, load).items()
        if name != OURS and name in ratios(older, load)
    ]
    largest, name, load = max(differences)
    apart = sum(one > AGREES_WITHIN for one, _, _ in differences)
    verdict = f"{apart} of them do NOT agree" if apart else "they agree"
    return (
        f"{which}: of {len(differences)} ratios, {verdict} within {AGREES_WITHIN:.0%}; "
        f"the largest difference is {largest:.1%} ({name}, {load}; {between})."
    )


def _what_ran(result: Result) -> dict[str, Any]:
    return {"commit": result["machine"]["commit"], "bench": result["bench"]}


def peers_plots(result: Result) -> list[str]:
    """A bar chart of the throughput for each candidate count."""
    plots = []
    for load in closed_loads(result):
        values = {name: median(some) for name, some in rates(result, load).items() if name != EMPTY}
        values["no server"] = median(loop_rates(result, load, json_bodies=False))
        plots.append(
            bars(f"{result['model']}, {result['variant']}: right answers per second, {load}", values, OURS)
        )
    return plots


def _loads(result: Result) -> list[str]:
    return list(dict.fromkeys(turn["load"] for turn in result["turns"]))


def _by_rate(result: Result, load: str) -> list[str]:
    found = rates(result, load)
    return sorted(result["servers"], key=lambda name: -median(found[name]))


def _failures(result: Result, name: str) -> int:
    turns = [turn for turn in result["turns"] if turn["server"] == name]
    return sum(count for turn in turns for outcome, count in turn["outcomes"].items() if outcome != "ok")


def _loop_lines(result: Result, closed: Sequence[str]) -> Iterator[str]:
    for load in closed:
        plain, with_json = (median(loop_rates(result, load, json_bodies=one)) for one in (False, True))
        ours = rates(result, load).get(OURS)
        share = f"; {OURS} reaches {median(ours) / plain:.0%} of the former" if ours else ""
        count = load.removeprefix("closed, ")
        yield (
            f"The same ranker in a loop without HTTP, {count}: {plain:,.0f}/s, "
            f"and {with_json:,.0f}/s with JSON in and out{share}."
        )


def _drift(result: Result, closed: Sequence[str]) -> Iterator[str]:
    """The naive server has the first and the last turn in each round: by how much did the machine change?"""
    for load in closed:
        turns: dict[int, list[float]] = defaultdict(list)
        for turn in result["turns"]:
            if turn["server"] == NAIVE and turn["load"] == load:
                turns[turn["round"]].append(turn["throughput"] / turn["speed"])
        changes = [last / first - 1 for first, last in turns.values() if first]
        if changes:
            shown = f"{median(changes):+.0%} [{min(changes):+.0%}, {max(changes):+.0%}]"
            yield f"Drift, from the first to the last turn of the naive server in a round ({load}): {shown}."


def _speed_line(result: Result) -> str:
    turns = result["turns"]
    speeds = sorted(turn["speed"] for turn in turns)
    unsteady = sum(not turn["steady"] for turn in turns)
    slowest, fastest = (f"{one / median(speeds):.0%}" for one in (speeds[0], speeds[-1]))
    return (
        f"The core itself ran at {slowest} to {fastest} of its median speed, for which rates are told. "
        f"In {unsteady:,} of {len(turns):,} turns it changed by more than a tenth."
    )


def _latency(percentiles: dict[str, float]) -> str:
    return " / ".join(f"{percentiles[p]:.1f}" if p in percentiles else "-" for p in ("p50", "p95", "p99"))


def _versions(server: dict[str, Any]) -> str:
    return f"{', '.join(server['requirements'])}; " if server["requirements"] else ""


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    return f"{median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def head(cells: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [row(cells), "|" + "---|" * len(cells)]


def row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"
