"""What evaluation asks of a graph, as files: so that anything outside can be asked the same, and measured by itself.

`train.npz`, `validation.npz` and `test.npz` have `input.<feature>` as [rows, *trailing_shape] and `label` as [rows].
`lists.npz` has `request.<feature>` as [lists, *trailing_shape] and `item.<feature>` as
[lists, candidates, *trailing_shape]; candidate 0 of each list is the held-out positive.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.compression.evaluate import asked_rows, make_lists
from app.encoding import Array
from app.training.rows import Prepared, Rows


def export_questions(prepared: Prepared, folder: Path, seed: int = 0) -> list[Path]:
    """Write the four files into a folder, which is made; gives their paths. Nothing in them is pickled."""
    folder.mkdir(parents=True, exist_ok=True)
    test = asked_rows(prepared, seed)
    content = {
        "train": _rows(prepared.train),
        "validation": _rows(prepared.validation),
        "test": _rows(test),
        "lists": _lists(prepared, test, seed),
    }
    paths = []
    for name, arrays in content.items():
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], allow_pickle=False, **arrays)
    return paths


def _rows(rows: Rows) -> Mapping[str, Array]:
    values = rows.inputs(np.arange(len(rows)))
    return {"label": rows.labels} | {f"input.{name}": one for name, one in values.items()}


def _lists(prepared: Prepared, test: Rows, seed: int) -> Mapping[str, Array]:
    schema, lists = prepared.encoder.schema, make_lists(prepared, test, seed)
    values = test.inputs(lists.row)
    request = {f"request.{one.name}": values[one.name] for one in schema.request_features}
    return request | {f"item.{one.name}": test.items[one.name][lists.items] for one in schema.item_features}
