"""Result files: everything measured in one run, with the machine's facts, as JSON that is never edited."""

import json
from pathlib import Path
from typing import Any

from loadtest.machine import facts

FOLDER = Path(__file__).parent / "results"


def write(kind: str, content: dict[str, Any]) -> Path:
    """Write a result file named after its kind and its time; gives its path."""
    machine = facts()
    stamp = machine["at"].replace(":", "").replace("-", "").replace("+0000", "Z")
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{kind}-{stamp}.json"
    path.write_text(json.dumps({"kind": kind, "machine": machine, **content}, indent=1) + "\n")
    return path


def newest(kind: str) -> dict[str, Any] | None:
    """The newest result of a kind; None without one."""
    paths = sorted(FOLDER.glob(f"{kind}-*.json"))
    if not paths:
        return None
    content: dict[str, Any] = json.loads(paths[-1].read_text())
    return content
