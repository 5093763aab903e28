"""How much memory it takes to compress a table that is larger than it: `python -m loadtest.compression.large_table`.

A ready ONNX graph with one large table is written to a temporary folder, some rows at a time, and compressed by the
command line. What counts is the resident memory of the process tree at its largest, pages of mapped files included.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtest.machine import facts, tree_of

SLIMRANK = Path(__file__).parent.parent.parent / ".venv" / "bin" / "slimrank"
NAME = "large"
USERS = 256
_CHUNK_ROWS = 1 << 18
_POLL_SECONDS = 0.02
_CARD = """
name = "large"
title = "One large table"

[source]
kind = "onnx"

[schema]
features = [
    {{ name = "user_id", side = "user", kind = "categorical", encoding = "hash", buckets = {users} }},
    {{ name = "item_id", side = "item", kind = "categorical", encoding = "hash", buckets = {items} }},
]

[profile]
candidates = [100]
samples = 30

[[recipes]]
name = "small-table"
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
    rows = int(asked.gigabytes * 1e9) // (4 * asked.dimension)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        home = Path(name)
        write_model(home / "models" / NAME, rows, asked.dimension, asked.settings)
        print_row(asked.settings, 4 * rows * asked.dimension, compress(home))


def write_model(folder: Path, rows: int, dimension: int, settings: str) -> None:
    """The folder of a model of kind onnx: score = sigmoid(user . item)."""
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(_CARD.format(users=USERS - 1, items=rows - 1, settings=settings))
    features = [
        {"name": name, "side": side, "kind": "categorical", "encoding": "hash", "buckets": count - 1}
        for name, side, count in (("user_id", "user", USERS), ("item_id", "item", rows))
    ]
    encoder = {"schema": {"features": features}, "vocabularies": {}, "scales": {}}
    (folder / "encoder.json").write_text(json.dumps(encoder))
    rng = np.random.default_rng(0)
    users = rng.standard_normal((USERS, dimension), dtype=np.float32)
    (folder / "model.onnx").write_bytes(_graph(users, rows).SerializeToString())
    # Numbers are drawn once and scaled anew for each chunk: to draw them all would take longer than to compress them.
    drawn = rng.standard_normal((_CHUNK_ROWS, dimension), dtype=np.float32)
    with (folder / "items.data").open("wb") as file:
        for start in range(0, rows, _CHUNK_ROWS):
            some = drawn[: rows - start]
            (some * rng.uniform(0.05, 0.2, size=(len(some), 1)).astype(np.float32)).tofile(file)


def _graph(users: np.ndarray[Any, Any], rows: int) -> onnx.ModelProto:
    dimension = users.shape[1]
    items = TensorProto(name="items", data_type=TensorProto.FLOAT, dims=[rows, dimension])
    items.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "items.data"), ("offset", "0"), ("length", str(4 * rows * dimension))):
        items.external_data.add(key=key, value=value)
    ids = {"user_id": "requests", "item_id": "candidates", "row_request": "candidates"}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["users", "user_id"], ["user"]),
            helper.make_node("Gather", ["user", "row_request"], ["spread"]),
            helper.make_node("Gather", ["items", "item_id"], ["item"]),
            helper.make_node("Mul", ["spread", "item"], ["products"]),
            helper.make_node("ReduceSum", ["products", "axes"], ["logit"], keepdims=0),
            helper.make_node("Sigmoid", ["logit"], ["score"]),
        ],
        "large",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [size]) for name, size in ids.items()],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["candidates"])],
        [numpy_helper.from_array(users, "users"), numpy_helper.from_array(np.array([1]), "axes"), items],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def compress(home: Path) -> dict[str, Any]:
    """Run the command line; gives its largest memory, how long it took, and the reports of what it made."""
    command = [
        *(SLIMRANK, "compress", NAME, "--models", home / "models", "--store", home / "store"),
        *("--cache", home / "cache"),
    ]
    started = time.monotonic()
    largest = {"resident": 0, "anonymous": 0}
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        while run.poll() is None:
            for kind, size in _memory(run.pid).items():
                largest[kind] = max(largest[kind], size)
            time.sleep(_POLL_SECONDS)
        assert run.stdout is not None
        said = run.stdout.read().decode()
    if run.returncode:
        raise SystemExit(f"slimrank compress ended with {run.returncode}:\n{said}")
    versions = {path.parent.parent.name: path for path in (home / "store" / NAME).glob("*/*/report.json")}
    reports = {variant: json.loads(path.read_text()) for variant, path in versions.items()}
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
    small = ran["reports"]["small-table"]
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
