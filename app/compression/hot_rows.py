"""Rows that are looked up often keep more bits: what their codes leave over is coded once more.

The values of a row are then the sum of two look-ups: that of its codes, and that of the rest, which is a row of zeros
for all but the hot rows. A small table says which row of the rests is whose. Compared with a second table of whole rows
and a `Where`, nothing is stored twice, and ids stay as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from app.compression.frequency import row_frequencies
from app.compression.table_coding import CHUNK_BYTES, Coded, Coding, Rows, code_rows
from app.compression.table_forms import Form
from app.compression.tables import Lookup, Table
from app.compression.workshop import Workshop
from app.encoding import Array
from app.training.weights import NewWeight


def hottest(table: Table, hot_rows: float, workshop: Workshop) -> Array:
    """The most looked-up rows, int64, ascending: a share below 1, or a number; never those that are not looked up.

    Raises CompressionFailed when the model has no data.
    """
    frequencies = row_frequencies(table, workshop.rows("keeping hot rows"))
    count = round(hot_rows * table.rows) if hot_rows < 1 else round(hot_rows)
    order = np.argsort(-frequencies, kind="stable")[: min(count, np.count_nonzero(frequencies))]
    return np.sort(order)


@dataclass(frozen=True)
class HotRows:
    """The rests of the hot rows."""

    slots: onnx.TensorProto
    """For each row of the table, [rows], the row of the rests; 0 for rows that are not hot."""
    rests: Coded

    @classmethod
    def of(cls, table: Table, hot: Array, coded: Coded, coding: Coding) -> "HotRows":
        """Code what `coded` leaves of the given rows, so that both together have 8 bits or more."""
        left = np.zeros((len(hot) + 1, table.dimension), dtype=np.float32)
        for start, values in table.chunks(_chunk(table)):
            here = np.flatnonzero((hot >= start) & (hot < start + len(values)))
            left[here + 1] = (values - coded.values(start, values))[hot[here] - start]

        def chunks() -> Iterator[tuple[int, Array]]:
            for start in range(0, len(left), _chunk(table)):
                yield start, left[start : start + _chunk(table)]

        rows = Rows(f"{table.name}.rest", len(left), table.dimension, chunks)
        rests = code_rows(rows, replace(coding, bits=4 if coding.bits == 4 else 8))
        return cls(_slots(table, hot, coding), rests)

    @property
    def weights(self) -> list[onnx.TensorProto]:
        """The initializers."""
        return [self.slots, *self.rests.weights]

    def nodes(self, form: Form, lookup: Lookup) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
        """Nodes that add both look-ups, and the constants that they read."""
        found, slot, index, rest = (lookup.value(name) for name in ("coded", "slot", "slot_index", "rest"))
        first, first_constants = form.nodes(lookup.indices, found)
        second, second_constants = self.rests.form.nodes(index, rest)
        between = [
            helper.make_node("Gather", [self.slots.name, lookup.indices], [slot]),
            helper.make_node("Cast", [slot], [index], to=TensorProto.INT32),
        ]
        total = helper.make_node("Add", [found, rest], [lookup.output])
        return [*first, *between, *second, total], first_constants | second_constants


def _chunk(table: Table) -> int:
    return max(1, CHUNK_BYTES // (4 * table.dimension))


def _slots(table: Table, hot: Array, coding: Coding) -> onnx.TensorProto:
    kind = next(one for one in (np.uint8, np.uint16, np.int32) if len(hot) <= np.iinfo(one).max)
    slots = np.zeros(table.rows, dtype=kind)
    slots[hot] = np.arange(1, len(hot) + 1)
    weight = NewWeight(f"{table.name}.slots", (table.rows,), kind, coding.folder)
    weight.append(slots)
    return weight.tensor()
