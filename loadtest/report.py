"""Result files as Markdown tables and as one page with plots that needs nothing else."""

from pathlib import Path
from typing import Any

from loadtest.compression.report import comparison_table
from loadtest.ours_report import check_table, fastest, generators_table, ours_table
from loadtest.peers_report import agreement, peers_plots, peers_table, short_table
from loadtest.plots import page
from loadtest.prepare import BENCH, ROOT
from loadtest.results import FOLDER, newest

VARIANTS = ("baseline", "int8-static")
_BEGIN, _END = "<!-- loadtest: begin -->", "<!-- loadtest: end -->"


def write_all() -> list[Path]:
    """Write report.md and report.html beside the result files, and the README's table; gives their paths."""
    peers = [newest(f"peers-{BENCH}-{variant}", 2) for variant in VARIANTS]
    text = [peers_table(runs[0]) for runs in peers if runs]
    plots = [plot for runs in peers if runs for plot in peers_plots(runs[0])]
    if pairs := [runs for runs in peers if len(runs) == 2]:
        text.append("\n\n".join(["### Two runs, one after another", *(agreement(*runs) for runs in pairs)]))
    for kind, table in (("ours", ours_table), ("soak", ours_table), ("generators", generators_table)):
        text += [table(result) for result in newest(kind)]
    text += [check_table(result, fastest([runs[0] for runs in peers if runs])) for result in newest("check")]
    text += [comparison_table(result) for result in newest("compression-movielens")]
    if not text:
        raise SystemExit("there are no result files yet: run `make loadtest` or `make loadtest-peers` first")
    markdown, html = FOLDER / "report.md", FOLDER / "report.html"
    markdown.write_text("\n\n".join(text) + "\n")
    html.write_text(page("Slimrank: load test", text, plots))
    return [markdown, html, *_into_readme([runs[0] for runs in peers if runs])]


def _into_readme(results: list[dict[str, Any]]) -> list[Path]:
    """Put the short table between its marks in the README; needs the peers' results of both graphs."""
    if len(results) < len(VARIANTS):
        return []
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(_BEGIN)
    _, after = rest.split(_END)
    readme.write_text(f"{before}{_BEGIN}\n{short_table(results)}\n{_END}{after}")
    return [readme]
