"""How much memory it takes to compress a table that is larger than it: `python -m loadtest.compression.large_table`.

A ready ONNX graph with one large table is written to a temporary folder, and compressed by the command line. What
counts is the resident memory of the process tree at its largest, pages of mapped files included.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from loadtest.machine import facts, tree_of
from loadtest.memory_model import LargeModel
from loadtest.prepare import SLIMRANK

VARIANT = "small-table"
_POLL_SECONDS = 0.02
_RECIPES = """
[[recipes]]
name = "{variant}"
steps = [{{ technique = "quantize_tables", {settings} }}]
"""


def main() -> None:
    """Write the model, compress it under watch, and print a row of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the fp32 table (10^9 bytes)")
    parser.add_argument("--dimension", type=int, default=64, help="values of a row")
    parser.add_argument("--settings", default="bits = 4", help="settings of quantize_tables, as in a recipe")
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    asked = parser.parse_args()
    recipes = _RECIPES.format(variant=VARIANT, settings=asked.settings)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        model = LargeModel(Path(name), int(asked.gigabytes * 1e9), asked.dimension, recipes)
        model.write()
        print_row(asked.settings, model.table_bytes, compress(model))


def compress(model: LargeModel) -> dict[str, Any]:
    """Run the command line; gives its largest memory, how long it took, and the reports of what it made."""
    command = [str(part) for part in (SLIMRANK, *model.compress_command)]
    started = time.monotonic()
    largest = {"resident": 0, "anonymous": 0}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        while run.poll() is None:
            for kind, size in _memory(run.pid).items():
                largest[kind] = max(largest[kind], size)
            time.sleep(_POLL_SECONDS)
        assert run.stdout is not None
        said = run.stdout.read().decode()
    if run.returncode:
        raise SystemExit(f"slimrank compress ended with {run.returncode}:\n{said}")
    paths = (model.place.store / model.place.model).glob("*/*/report.json")
    reports = {path.parent.parent.name: json.loads(path.read_text()) for path in paths}
    return {"seconds": time.monotonic() - started, "memory": largest, "reports": reports}


def _memory(pid: int) -> dict[str, int]:
    """Resident bytes of a process tree: all of them, and those that belong to no file."""
    total = {"resident": 0, "anonymous": 0}
    for one in tree_of(pid):
        try:
            status = Path(f"/proc/{one}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = {line.split(":")[0]: line.split()[1:2] for line in status.splitlines()}
        for kind, field in (("resident", "VmRSS"), ("anonymous", "RssAnon")):
            total[kind] += int(fields.get(field, ["0"])[0]) * 1024
    return total


def print_row(settings: str, table_bytes: int, ran: dict[str, Any]) -> None:
    """The figures as a row of a Markdown table, with the machine's facts below."""
    small = ran["reports"][VARIANT]
    figures = [
        f"{settings}",
        f"{table_bytes / 1e9:.2f} GB",
        f"{small['size']['artifact_bytes'] / 1e9:.2f} GB",
        f"{small['size']['artifact_bytes'] / table_bytes:.2%}",
        f"{ran['memory']['resident'] / 1e9:.2f} GB",
        f"{ran['memory']['anonymous'] / 1e9:.2f} GB",
        f"{small['seconds']:.0f} s",
        f"{table_bytes / 1e6 / small['seconds']:.0f} MB/s",
        f"{ran['seconds']:.0f} s",
    ]
    heads = [
        *("Settings", "Table", "Artifact", "Share", "Peak resident", "of it anonymous", "Variant made in"),
        *("Speed", "Whole command"),
    ]
    for cells in (heads, ["---"] * len(heads), figures):
        print(f"| {' | '.join(cells)} |")
    machine = facts()
    print(f"\n{os.cpu_count()} cores of {machine['processor']}, commit {machine['commit']}, {machine['at']}.")


if __name__ == "__main__":
    main()
