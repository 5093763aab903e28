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


def newest(kind: str, count: int = 1) -> list[dict[str, Any]]:
    """The newest results of a kind, the newest first; fewer where there are fewer."""
    paths = sorted(FOLDER.glob(f"{kind}-*.json"), reverse=True)
    return [json.loads(path.read_text()) for path in paths[:count]]
