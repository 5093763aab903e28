"""Result files as Markdown tables and as one page with plots that needs nothing else."""

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from loadtest.plots import bars, page
from loadtest.results import FOLDER, newest
from loadtest.servers import ROOT

OURS = "slimrank"
VARIANTS = ("baseline", "int8-static")
_BEGIN, _END = "<!-- loadtest: begin -->", "<!-- loadtest: end -->"


def write_all() -> list[Path]:
    """Write report.md and report.html beside the result files; gives their paths."""
    text, plots = [], []
    for variant in VARIANTS:
        if result := newest(f"peers-{variant}"):
            text.append(peers_table(result))
            plots += peers_plots(result)
    for kind, table in (("ours", ours_table), ("soak", ours_table), ("check", check_table)):
        if result := newest(kind):
            text.append(table(result))
    if not text:
        raise SystemExit("there are no result files yet: run `make loadtest` or `make loadtest-peers` first")
    markdown, html = FOLDER / "report.md", FOLDER / "report.html"
    markdown.write_text("\n\n".join(text) + "\n")
    html.write_text(page("Slimrank: load test", text, plots))
    return [markdown, html, *_into_readme()]


def _into_readme() -> list[Path]:
    """Put the short table between its marks in the README; needs the peers' results of both graphs."""
    results = [newest(f"peers-{variant}") for variant in VARIANTS]
    if None in results:
        return []
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(_BEGIN)
    _, after = rest.split(_END)
    table = short_table([result for result in results if result is not None])
    readme.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}")
    return [readme]


def short_table(results: list[dict[str, Any]]) -> str:
    """Right answers per second of every server, by graph and candidate count, and its memory."""
    columns = [(result, load) for result in results for load in _closed(result)]
    heads = [f"`{result['variant']}`, {load.removeprefix('closed, ')}" for result, load in columns]
    lines = ["| Server, right answers/s on one core | " + " | ".join(heads) + " | PSS MB |"]
    lines.append("|" + "---|" * (len(heads) + 2))
    servers = [_by_server(result) for result in results]
    rated = {name: _rate(runs, columns[-1][1]) for name, runs in servers[-1].items()}
    for name in sorted({*servers[0], *rated}, key=lambda one: -rated.get(one, 0.0)):
        cells = []
        for result, load in columns:
            runs = _by_server(result).get(name)
            cells.append(f"{_rate(runs, load):,.0f}" if runs else "-")
        memory = [one["memory"]["proportional_bytes"] for by in servers for one in by.get(name, [])]
        shown = f"**{name}**" if name == OURS else name
        lines.append("| " + " | ".join([shown, *cells, f"{median(memory) / 1e6:.0f}"]) + " |")
    failures = sum(
        _failures(load) for result in results for run in result["runs"] for load in run["loads"].values()
    )
    rounds = results[0]["bench"]["rounds"]
    what = f"Medians of {rounds} rounds, 8 connections, {failures} failed or wrong answers"
    where = f"{what}; {machine_line(results[0])}."
    return "\n".join([*lines, "", where])


def _closed(result: dict[str, Any]) -> list[str]:
    return [name for name in result["runs"][0]["loads"] if name.startswith("closed")]


def machine_line(result: dict[str, Any]) -> str:
    """Where and when, in one line."""
    machine = result["machine"]
    flags = ", ".join(machine["flags"])
    return (
        f"{machine['cores']} cores of {machine['processor']} ({flags}), kernel {machine['kernel']}, "
        f"onnxruntime {machine['versions']['onnxruntime']}, commit {machine['commit']}, {machine['at']}"
    )


def peers_table(result: dict[str, Any]) -> str:
    """Side by side, in medians over the rounds [least, most]; `of ours` are ratios within one round."""
    by_server = _by_server(result)
    names = list(next(iter(by_server.values()))[0]["loads"])
    closed = [name for name in names if name.startswith("closed")]
    opened = [name for name in names if name.startswith("open")]
    heads = ["Server", *(f"right answers/s, {n}" for n in closed), *("of ours" for _ in closed)]
    heads += [*(f"p50 / p99 ms, {n}" for n in opened), "PSS MB", "start s", "failures"]
    lines = [
        f"### Peers, `{result['variant']}`",
        "",
        machine_line(result),
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    order = sorted(by_server, key=lambda name: -_rate(by_server[name], closed[-1]))
    for name in order:
        runs = by_server[name]
        cells = [name, *(_spread([one["loads"][load]["throughput"] for one in runs]) for load in closed)]
        cells += [_ratios(by_server, name, load) for load in closed]
        cells += [_latency(runs, load) for load in opened]
        memory = median(one["memory"]["proportional_bytes"] for one in runs) / 1e6
        start = median(one["start_seconds"] for one in runs)
        failures = sum(_failures(load) for one in runs for load in one["loads"].values())
        lines.append("| " + " | ".join([*cells, f"{memory:.0f}", f"{start:.1f}", str(failures)]) + " |")
    loops = ", ".join(f"{rate:.0f}/s at {n}" for n, rate in result["bare_loop_per_second"].items())
    lines += [
        "",
        f"The same graph in a loop with JSON and without HTTP: {loops}.",
        "",
        *_drift(result, closed),
    ]
    return "\n".join(lines)


def peers_plots(result: dict[str, Any]) -> list[str]:
    """A bar chart of the throughput for each candidate count."""
    by_server = _by_server(result)
    closed = [name for name in next(iter(by_server.values()))[0]["loads"] if name.startswith("closed")]
    plots = []
    for load in closed:
        values = {name: _rate(runs, load) for name, runs in by_server.items()}
        plots.append(bars(f"{result['variant']}: right answers per second, {load}", values, OURS))
    return plots


def ours_table(result: dict[str, Any]) -> str:
    """Our own service, scenario by scenario."""
    lines = [
        f"### Scenarios, `{result['variant']}`",
        "",
        machine_line(result),
        "",
        "| Scenario | What | Sent | Right/s | p50 ms | p95 ms | p99 ms | Failures | PSS MB | A probe after, ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in result["scenarios"].items():
        latency = one["latency_ms"]
        shown = (f"{latency[p]:.2f}" if p in latency else "-" for p in ("p50", "p95", "p99"))
        memory = one["memory_after"]["proportional_bytes"] / 1e6
        failures = (
            ", ".join(f"{count} {why}" for why, count in one["outcomes"].items() if why != "ok") or "none"
        )
        cells = [name, one["what"], f"{one['requests']:,}", f"{one['throughput']:.0f}", *shown, failures]
        lines.append("| " + " | ".join([*cells, f"{memory:.0f}", f"{one['probe_ms_after']:.1f}"]) + " |")
    return "\n".join(
        [*lines, "", f"From the start of the process to its first answer: {result['start_seconds']:.2f} s."]
    )


def check_table(result: dict[str, Any]) -> str:
    """The instrument itself."""
    lines = [
        "### The instrument",
        "",
        machine_line(result),
        "",
        "| Server | Load | Right/s |",
        "|---|---|---|",
    ]
    for name, one in (
        ("no work at all", result["null_server"]),
        ("empty FastAPI route", result["empty_route"]),
    ):
        for load, summary in one["loads"].items():
            # The empty route answers nothing: every answer is "wrong", and its rate is what counts.
            rate = summary["requests"] / summary["seconds"]
            lines.append(f"| {name} | {load} | {rate:.0f} |")
    lines += ["", "| Planted fault | Seen |", "|---|---|"]
    lines += [f"| {fault} | {one['seen'] or 'nothing'} |" for fault, one in result["faults"].items()]
    return "\n".join(lines)


def _by_server(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in result["runs"]:
        found[run["server"]].append(run)
    return dict(found)


def _rate(runs: list[dict[str, Any]], load: str) -> float:
    return float(median(one["loads"][load]["throughput"] for one in runs))


def _spread(values: list[float]) -> str:
    return f"{median(values):.0f} [{min(values):.0f}, {max(values):.0f}]"


def _ratios(by_server: dict[str, list[dict[str, Any]]], name: str, load: str) -> str:
    """Its rate over ours, pair by pair within each round."""
    ours = {one["round"]: one["loads"][load]["throughput"] for one in by_server.get(OURS, [])}
    pairs = [
        one["loads"][load]["throughput"] / ours[one["round"]]
        for one in by_server[name]
        if ours.get(one["round"])
    ]
    return f"{median(pairs):.2f} [{min(pairs):.2f}, {max(pairs):.2f}]" if pairs else "-"


def _latency(runs: list[dict[str, Any]], load: str) -> str:
    shown = []
    for percentile in ("p50", "p99"):
        values = [one["loads"][load]["latency_ms"].get(percentile) for one in runs]
        shown.append(f"{median(values):.1f}" if None not in values else "-")
    return " / ".join(shown)


def _failures(summary: dict[str, Any]) -> int:
    return sum(count for outcome, count in summary["outcomes"].items() if outcome != "ok")


def _drift(result: dict[str, Any], closed: list[str]) -> list[str]:
    """The naive server ran first and last in each round: by how much did the machine change?"""
    lines = []
    for load in closed:
        changes = []
        for number in {run["round"] for run in result["runs"]}:
            rates = [
                run["loads"][load]["throughput"]
                for run in result["runs"]
                if run["round"] == number and run["server"] == "fastapi"
            ]
            if len(rates) == 2:
                changes.append(rates[1] / rates[0] - 1)
        if changes:
            shown = ", ".join(f"{change:+.0%}" for change in changes)
            lines.append(f"Drift, from the first to the last run of the naive server ({load}): {shown}.")
    return lines
