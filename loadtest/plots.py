"""Bar charts and curves as SVG and a page around them: no scripts, no fonts, no network."""

import re
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _LEFT, _ROW = 720, 150, 26
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1d2733; }
table { border-collapse: collapse; display: block; overflow-x: auto; } th, td { border-bottom: 1px solid #d5dce3;
padding: .25rem .6rem; text-align: right; } th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; }
polyline { fill: none; stroke-width: 2; } line { stroke: #d5dce3; }
.bar { fill: #9db4cc; } .ours { fill: #1f5fbf; } text { font-size: 13px; fill: #1d2733; }
"""


def bars(title: str, values: Mapping[str, float], highlighted: str) -> str:
    """One horizontal bar for each value, the largest first."""
    ordered = sorted(values.items(), key=lambda pair: -pair[1])
    most = max(values.values(), default=0.0) or 1.0
    height = _ROW * len(ordered) + 10
    rows = []
    for number, (name, value) in enumerate(ordered):
        y = 5 + number * _ROW
        width = (_WIDTH - _LEFT - 80) * value / most
        kind = "bar ours" if name == highlighted else "bar"
        rows.append(
            f'<text x="{_LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 8}"/>'
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 16}">{value:,.0f}</text>'
        )
    return (
        f'<h3>{escape(title)}</h3><svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}">{"".join(rows)}</svg>'
    )


_COLOURS = ("#8a94a0", "#c8781e", "#1f5fbf", "#2f8f5b")
_HEIGHT, _MARGIN, _TICKS = 260, 60, 5
_IN_FULL = 1000


def curves(title: str, x_label: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines over one axis, (x, y) in order; the axis of y begins at zero."""
    points = [point for some in series.values() for point in some]
    most_x = max((x for x, _ in points), default=0.0) or 1.0
    most_y = max((y for _, y in points), default=0.0) or 1.0
    width, height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * 30

    def place(x: float, y: float) -> tuple[float, float]:
        return _MARGIN + width * x / most_x, 30 + height * (1 - y / most_y)

    drawn = []
    for tick in range(_TICKS):
        share = tick / (_TICKS - 1)
        x, y = place(most_x * share, most_y * share)
        drawn.append(
            f'<line x1="{_MARGIN}" y1="{y:.1f}" x2="{_MARGIN + width}" y2="{y:.1f}"/>'
            f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(most_y * share)}</text>'
            f'<text x="{x:.1f}" y="{30 + height + 16}" text-anchor="middle">{_short(most_x * share)}</text>'
        )
    for number, (name, some) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        line = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in some)
        drawn.append(
            f'<polyline points="{line}" stroke="{colour}"/>'
            f'<text x="{_MARGIN + 150 * number}" y="18" style="fill:{colour}">{escape(name)}</text>'
        )
    label = f'<text x="{_MARGIN + width / 2}" y="{_HEIGHT - 2}" text-anchor="middle">{escape(x_label)}</text>'
    frame = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">'
    return f"<h3>{escape(title)}</h3>{frame}{''.join(drawn)}{label}</svg>"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= _IN_FULL else f"{value:.3g}"


def page(title: str, markdown: Sequence[str], plots: Sequence[str]) -> str:
    """The whole page: plots first, then the tables."""
    tables = "".join(_html(part) for part in markdown)
    head = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"{head}<h1>{escape(title)}</h1>{''.join(plots)}{tables}</html>\n"


def _html(markdown: str) -> str:
    """The little Markdown that the report uses: headings, tables, paragraphs."""
    found, table = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        if table:
            found.append(_table(table))
            table = []
        if line.startswith("### "):
            found.append(f"<h2>{_inline(line[4:])}</h2>")
        elif line:
            found.append(f"<p>{_inline(line)}</p>")
    return "".join(found)


def _table(lines: Sequence[str]) -> str:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if not set(line) <= set("|-")
    ]
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _inline(text: str) -> str:
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", coded)
