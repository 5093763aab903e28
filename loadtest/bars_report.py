"""Bars in words: what was asked, what was measured, and whether that is enough."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.peers_report import Result, machine_line


def verdict(bar: Mapping[str, Any]) -> str:
    """Whether a bar is passed."""
    return "pass" if bar["met"] else "falls short"


def in_words(bar: Mapping[str, Any]) -> str:
    """One bar in one line."""
    asked = f"{bar['sense']} {_shown(bar['limit'], bar['unit'])}"
    return f"{bar['what']}: {_shown(bar['value'], bar['unit'])}, asked: {asked}: {verdict(bar)}"


def bars_table(results: Sequence[Result]) -> str:
    """Every bar of these results, and where each comes from."""
    lines = [
        "### Bars",
        "",
        "| Bar | Asked | Measured | Verdict | Model | Measured at |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for bar in result.get("bars", []):
            asked = f"{bar['sense']} {_shown(bar['limit'], bar['unit'])}"
            where = f"{result['machine']['commit']}, {result['machine']['at']}"
            cells = [bar["what"], asked, _shown(bar["value"], bar["unit"]), f"**{verdict(bar)}**"]
            lines.append(f"| {' | '.join([*cells, str(result['model']), where])} |")
    return "\n".join(lines)


def own_bars(result: Result) -> list[str]:
    """The lines at the head of a section: where it was measured, and its bars."""
    return [machine_line(result), "", *(f"{in_words(bar)}.\n" for bar in result.get("bars", []))]


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    if unit == "%":
        return f"{value:.1%}"
    if unit in ("ms", "MB"):
        return f"{value:,.2f} {unit}" if unit == "ms" else f"{value:,.0f} {unit}"
    return f"{value:.2f}x" if unit == "x" else f"{value:,g}"
