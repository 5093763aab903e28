"""A graph in two parts: what it computes of an item alone is computed for the whole catalog when a version is loaded.

A request then looks it up by the item's row: f(user, g(item)) with g known beforehand. An item whose features a client
sends goes through both parts, with equal scores.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.artifact import ITEMS_GRAPH_FILE, REST_GRAPH_FILE
from app.encoding import Array
from app.errors import ArtifactCorrupt
from app.schema import ROW_REQUEST, SCORE, FeatureSchema
from app.serving.session import Graph

_ROWS_PER_RUN = 1024


def is_cut(folder: Path) -> bool:
    """Whether an artifact has its graph in parts too."""
    return (folder / ITEMS_GRAPH_FILE).exists() and (folder / REST_GRAPH_FILE).exists()


class CutSession:
    """Scores with the two parts, as the Scoring of app/serving/session.py has it."""

    def __init__(self, folder: Path, schema: FeatureSchema, threads: int, items: Mapping[str, Array]) -> None:
        """`items` are the catalog's, each [num_items, ...]. Raises ArtifactCorrupt when a part does not fit."""
        self._first = Graph(folder, ITEMS_GRAPH_FILE, threads)
        self._rest = Graph(folder, REST_GRAPH_FILE, threads)
        features = {feature.name for feature in schema.features}
        self._items = {name: values for name, values in items.items() if name in self._first.inputs}
        known = features | {ROW_REQUEST, *self._first.outputs}
        fits = set(self._rest.inputs) <= known and self._rest.outputs == [SCORE]
        if not fits or self._items.keys() != set(self._first.inputs):
            raise ArtifactCorrupt(
                f"{'/'.join(folder.parts[-3:])}: the parts of the graph do not fit its schema"
            )
        # What the rest takes of an item as it is has nothing to be computed.
        self._as_it_is = {name: values for name, values in items.items() if name in self._rest.inputs}
        self._values: Mapping[str, Array] = {}
        self.kept_bytes = 0

    def value_bytes(self) -> int:
        """Bytes that the values of all items would take. Raises ArtifactCorrupt when the graph does not run."""
        one = self._computed(0, 1)
        return sum(values.nbytes for values in one) * self._num_items

    def compute(self) -> None:
        """Compute the values of all items; `run_catalog` needs them."""
        one = zip(self._first.outputs, self._computed(0, 1), strict=True)
        computed = {
            name: np.empty((self._num_items, *values.shape[1:]), values.dtype) for name, values in one
        }
        for start in range(0, self._num_items, _ROWS_PER_RUN):
            stop = start + _ROWS_PER_RUN
            for whole, part in zip(computed.values(), self._computed(start, stop), strict=True):
                whole[start:stop] = part
        self.kept_bytes = sum(values.nbytes for values in computed.values())
        self._values = {**self._as_it_is, **computed}

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        """As Scoring has it."""
        values = dict(zip(self._first.outputs, self._first.run(inputs), strict=True))
        return self._rest.run({**inputs, **values, ROW_REQUEST: row_request})[0]

    def run_catalog(self, inputs: Mapping[str, Array], rows: Array, row_request: Array) -> Array:
        """As Scoring has it."""
        values = {name: values.take(rows, axis=0) for name, values in self._values.items()}
        return self._rest.run({**inputs, **values, ROW_REQUEST: row_request})[0]

    def items_of(self, rows: Array) -> dict[str, Array]:
        """As Scoring has it."""
        return {name: values.take(rows, axis=0) for name, values in (self._items | self._as_it_is).items()}

    @property
    def _num_items(self) -> int:
        return len(next(iter(self._items.values())))

    def _computed(self, start: int, stop: int) -> list[Array]:
        try:
            return self._first.run({name: values[start:stop] for name, values in self._items.items()})
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            reason = str(error).splitlines()[0]
            raise ArtifactCorrupt(f"the graph of the items does not run: {reason}") from error
