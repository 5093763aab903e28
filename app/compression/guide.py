"""The tables of docs/compression.md, made from the techniques; what stands outside their marks is written by hand."""

import re

from app.compression.description import Description, Setting, describe, shared_settings
from app.compression.technique import techniques
from app.errors import ConfigurationError

FINE_TUNING = "fine-tuning"
"""The part that holds the settings of every technique that trains."""
TECHNIQUES = "techniques"
"""The part that lists all techniques."""


def parts() -> dict[str, str]:
    """The generated text of each part of the guide: the list, the shared settings, each technique's own."""
    described = {name: describe(one) for name, one in techniques().items()}
    own = {f"settings of {name}": _own(one) for name, one in described.items()}
    return {
        TECHNIQUES: _list(list(described.values())),
        FINE_TUNING: _settings(shared_settings()),
        **own,
    }


def filled(guide: str) -> str:
    """The guide with every part between its marks made anew.

    Raises ConfigurationError naming the marks that are missing, and those that belong to no technique.
    """
    made = parts()
    found = re.findall(r"^<!-- ([\w -]+): begin -->$", guide, re.MULTILINE)
    if strange := [name for name in found if name not in made]:
        raise ConfigurationError(f"the guide has marks of what does not exist: {', '.join(strange)}")
    for name, text in made.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        if guide.count(begin) != 1 or guide.count(end) != 1:
            raise ConfigurationError(
                f"the guide needs the lines {begin.strip()!r} and {end.strip()!r} once each, where the table goes"
            )
        before, rest = guide.split(begin)
        guide = f"{before}{begin}{text}\n{end}{rest.split(end)[1]}"
    return guide


def _list(described: list[Description]) -> str:
    lines = [
        "| Technique | Stage | What it does | Needs | Follows |",
        "|---|---|---|---|---|",
    ]
    for one in described:
        needs = ", ".join(one.needs) or "-"
        lines.append(_row(f"`{one.name}`", one.stage, one.summary, needs, one.source))
    return "\n".join(lines)


def _own(one: Description) -> str:
    said = [_settings(one.settings)] if one.settings else []
    if one.fine_tuning:
        said.append(f"And the settings of [fine-tuning](#{FINE_TUNING}).")
    return "\n\n".join(said) or "It has no settings."


def _settings(settings: tuple[Setting, ...]) -> str:
    lines = ["| Setting | Default | Range | Meaning |", "|---|---|---|---|"]
    for one in settings:
        default = "required" if one.default is None else f"`{one.default}`"
        lines.append(_row(f"`{one.name}`", default, one.range, one.meaning))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
