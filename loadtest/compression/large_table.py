"""How much memory it takes to compress a table that is larger than it: `python -m loadtest.compression.large_table`.

A ready ONNX graph with one large table is written to a temporary folder, and compressed by the command line. What
counts is the resident memory of the process tree at its largest, pages of mapped files included.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from loadtest.bars import Bar
from loadtest.compression.large_table_report import large_table_table
from loadtest.machine import tree_of
from loadtest.memory_model import LargeModel
from loadtest.prepare import SLIMRANK
from loadtest.results import write

NAME = "large-table"
VARIANT = "small-table"
PEAK = Bar("a table of 4 GB compressed: peak resident memory", 1500, "MB")
BAR_BYTES = 3.99e9
"""Of the table that the bar is about: whole rows of 256 bytes leave a little of 4 GB over."""
_POLL_SECONDS = 0.02
_RECIPES = """
[[recipes]]
name = "{variant}"
steps = [{{ technique = "quantize_tables", {settings} }}]
"""


def main() -> None:
    """Write the model, compress it under watch, write a result file, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the fp32 table (10^9 bytes)")
    parser.add_argument("--dimension", type=int, default=64, help="values of a row")
    parser.add_argument("--settings", default="bits = 4", help="settings of quantize_tables, as in a recipe")
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--no-result", dest="result", action="store_false", help="write no result file")
    asked = parser.parse_args()
    recipes = _RECIPES.format(variant=VARIANT, settings=asked.settings)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        model = LargeModel(Path(name), int(asked.gigabytes * 1e9), asked.dimension, recipes)
        model.write()
        found = figures(asked.settings, model.table_bytes, compress(model))
    if asked.result:
        print(f"wrote {write(NAME, found)}")
    print(large_table_table(found))


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


def figures(settings: str, table_bytes: int, ran: dict[str, Any]) -> dict[str, Any]:
    """What a result file says of it. Tables of other sizes than 4 GB are not held against the bar."""
    small = ran["reports"][VARIANT]
    peak = ran["memory"]["resident"]
    return {
        "model": f"a table of {table_bytes / 1e9:.2f} GB",
        "settings": settings,
        "table_bytes": table_bytes,
        "artifact_bytes": small["size"]["artifact_bytes"],
        "peak_resident_bytes": peak,
        "peak_anonymous_bytes": ran["memory"]["anonymous"],
        "variant_seconds": small["seconds"],
        "megabytes_per_second": table_bytes / 1e6 / small["seconds"],
        "command_seconds": ran["seconds"],
        "bars": [PEAK.judged(peak / 1e6)] if table_bytes >= BAR_BYTES else [],
    }


if __name__ == "__main__":
    main()
