"""Result files as Markdown tables and as one page with plots that needs nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.bars_report import bars_table
from loadtest.compression.demo_report import demo_variants_table
from loadtest.compression.large_table_report import large_table_table
from loadtest.compression.long_tail_report import long_tail_table
from loadtest.compression.report import comparison_table
from loadtest.compression.tables_report import tables_table
from loadtest.demo_report import demo_table
from loadtest.memory_report import memory_table
from loadtest.ours_report import check_table, fastest, generators_table, ours_table, resident_plots
from loadtest.overload_report import overload_plots, overload_table
from loadtest.peers_report import Result, agreement, peers_plots, peers_table, short_table
from loadtest.plots import page
from loadtest.prepare import BENCH, ROOT
from loadtest.results import FOLDER, newest
from loadtest.shadow_report import shadow_table
from loadtest.tail_report import tail_table
from loadtest.turns_report import recompression_table, swaps_table


def _no_plots(result: Result) -> list[str]:  # noqa: ARG001  (as the others)
    return []


SECTIONS: dict[str, tuple[Callable[[Result], str], Callable[[Result], list[str]]]] = {
    "demo": (demo_table, peers_plots),
    "ours": (ours_table, resident_plots),
    "tail": (tail_table, _no_plots),
    "overload": (overload_table, overload_plots),
    "swaps": (swaps_table, _no_plots),
    "recompression": (recompression_table, _no_plots),
    "shadow": (shadow_table, _no_plots),
    "memory": (memory_table, _no_plots),
    "soak": (ours_table, resident_plots),
    "short-soak": (ours_table, resident_plots),
    "variants": (demo_variants_table, _no_plots),
    "tables": (tables_table, _no_plots),
    "long-tail": (long_tail_table, _no_plots),
    "large-table": (large_table_table, _no_plots),
    "generators": (generators_table, _no_plots),
}
"""For each kind of result file its tables and its plots, in the order of the report."""
VARIANTS = ("baseline", "int8-static")
_BEGIN, _END = "<!-- loadtest: begin -->", "<!-- loadtest: end -->"


def write_all() -> list[Path]:
    """Write report.md and report.html beside the result files, and the README's table; gives their paths."""
    peers = [newest(f"peers-{BENCH}-{variant}", 2) for variant in VARIANTS]
    newest_peers = [runs[0] for runs in peers if runs]
    found = {kind: newest(kind) for kind in (*SECTIONS, "check")}
    measured = [*newest_peers, *(result for results in found.values() for result in results)]
    barred = [result for result in measured if result.get("bars")]
    text = [bars_table(barred)] if barred else []
    text += [peers_table(result) for result in newest_peers]
    plots = [plot for result in newest_peers for plot in peers_plots(result)]
    if pairs := [runs for runs in peers if len(runs) == 2]:
        text.append("\n\n".join(["### Two runs, one after another", *(agreement(*runs) for runs in pairs)]))
    for kind, (table, plots_of) in SECTIONS.items():
        text += [table(result) for result in found[kind]]
        plots += [plot for result in found[kind] for plot in plots_of(result)]
    text += [check_table(result, fastest(newest_peers)) for result in found["check"]]
    text += [comparison_table(result) for result in newest("compression-movielens")]
    if not text:
        raise SystemExit("there are no result files yet: run `make loadtest` or `make loadtest-peers` first")
    markdown, html = FOLDER / "report.md", FOLDER / "report.html"
    markdown.write_text("\n\n".join(text) + "\n")
    html.write_text(page("Slimrank: load test", text, plots))
    return [markdown, html, *_into_readme(newest_peers)]


def _into_readme(results: list[dict[str, Any]]) -> list[Path]:
    """Put the short table between its marks in the README: of the graphs that the peers were measured with."""
    if not results:
        return []
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(_BEGIN)
    _, after = rest.split(_END)
    readme.write_text(f"{before}{_BEGIN}\n{short_table(results)}\n{_END}{after}")
    return [readme]
