"""Reads what the tests need of a guide: tables, links, anchors, code blocks."""

import re
from pathlib import Path

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the rows of every table below a heading, up to the next heading of any level."""
    _, found, below = text.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    section = re.split(r"^#+ ", below, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    # The first row of a table is its head, and the one with dashes its rule.
    rules = [number for number, line in enumerate(lines) if set(line) <= set("|- ")]
    return [row for number, row in enumerate(cells) if number not in rules and number + 1 not in rules]


def links(text: str) -> list[str]:
    return _LINK.findall(_BLOCK.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(_BLOCK.sub("", text))]
    return {one.replace(" ", "-") for one in plain}


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in _BLOCK.findall(text) if name == language]


def broken_links(path: Path) -> list[str]:
    """Relative links of a file that lead nowhere."""
    broken = []
    for link in links(path.read_text()):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken
