"""Rows of tables that training never looked up, or seldom, share one row: fewer bytes for a long tail."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper
from pydantic import Field

from app.compression.frequency import row_frequencies
from app.compression.tables import Lookup, Table, find_tables, replace_table
from app.compression.technique import Technique, TechniqueConfig, without_tables
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.weights import NewWeight, inline_tensor, is_external

_OLDEST_OPSET = 12
_INDICES = (np.uint8, np.uint16, np.int32)


class DropRowsConfig(TechniqueConfig):
    """Which rows go, and what takes their place."""

    min_count: int = Field(
        default=1, ge=1, description="Rows that the training rows look up less often than this share one row."
    )
    shared: Literal["unknown", "mean"] = Field(
        default="unknown",
        description='unknown: they share row 0, "none or unknown"; mean: a new row, their mean weighted by look-ups.',
    )
    min_rows: int = Field(default=1000, ge=1, description="Smaller tables are left alone.")


@dataclass(frozen=True)
class _Plan:
    """What becomes of one table: the rows that stay, and after them the shared row."""

    stays: Array
    """Rows that stay, int64, ascending; row 0 is one of them."""
    end: int
    """Indices of this and above have the shared row."""
    slots: Array | None
    """For each row below `end`, and for all from there on, its new row; None where rows stay where they are."""

    @property
    def shared(self) -> int:
        """Where the shared row is, which stands last."""
        return len(self.stays)

    def size_bytes(self, dimension: int) -> int:
        """Bytes of the table and of the slots."""
        return 4 * dimension * (len(self.stays) + 1) + (0 if self.slots is None else self.slots.nbytes)


def apply(model: onnx.ModelProto, config: DropRowsConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with shorter tables; what is looked up of the rows that stay is as it was.

    Raises CompressionFailed when no table gets smaller, or the graph's operators are too old.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rows = workshop.rows(TECHNIQUE.name)
    opset = next(one.version for one in made.opset_import if one.domain in ("", "ai.onnx"))
    if opset < _OLDEST_OPSET:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has version {opset} of ONNX's operators, and needs {_OLDEST_OPSET}"
        )
    changed = False
    # Where indices are computed, nothing is known of how often a row is looked up.
    known = [one for one in find_tables(made) if all(lookup.features for lookup in one.lookups)]
    for table in known:
        counts = row_frequencies(table, rows)
        plan = _plan(counts >= config.min_count, table.dimension)
        if table.rows >= config.min_rows and plan.size_bytes(table.dimension) < table.size_bytes:
            _shorten(made, table, plan, _shared_row(table, plan, counts, config.shared), workshop)
            changed = True
    if not changed:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: no table of {config.min_rows} rows or more gets smaller: too few of its rows are "
            f"looked up less than {config.min_count} times in training"
        )
    return made


def _plan(seen: Array, dimension: int) -> _Plan:
    """The smaller one of two: rows go from the end alone, or from everywhere, which takes a number for each row."""
    seen = seen.copy()
    seen[0] = True
    stays = np.flatnonzero(seen)
    end = int(stays[-1]) + 1
    tail = _Plan(np.arange(end), end, None)
    if len(stays) == end:
        return tail
    kind = next(one for one in _INDICES if len(stays) <= np.iinfo(one).max)
    slots = np.full(end + 1, len(stays), dtype=kind)
    slots[stays] = np.arange(len(stays))
    return min(tail, _Plan(stays, end, slots), key=lambda one: one.size_bytes(dimension))


def _shared_row(table: Table, plan: _Plan, counts: Array, shared: str) -> Array:
    """float32 [1, dimension]."""
    if shared == "unknown":
        return table.read(0, 1)
    gone = np.ones(table.rows, dtype=bool)
    gone[plan.stays] = False
    # Rows that were never looked up say something only where no other row does.
    weights = np.where(gone, counts if counts[gone].any() else 1.0, 0.0)
    total = np.zeros(table.dimension)
    for start, values in table.chunks():
        total += weights[start : start + len(values)] @ values.astype(np.float64)
    mean: Array = (total / weights.sum()).astype(np.float32)
    return mean[None]


def _shorten(model: onnx.ModelProto, table: Table, plan: _Plan, shared: Array, workshop: Workshop) -> None:
    folder = workshop.scratch if is_external(table.tensor) else None
    shape = (len(plan.stays) + 1, table.dimension)
    kept = NewWeight(f"{table.name}.kept", shape, np.float32, folder)
    for some in _parts(table, plan):
        kept.append(some)
    kept.append(shared)
    end = inline_tensor(f"{table.name}.end", np.array(plan.end, dtype=np.int64))
    weights = [kept.tensor(), end]
    if plan.slots is not None:
        weights.append(inline_tensor(f"{table.name}.slots", plan.slots))

    def nodes(lookup: Lookup) -> list[onnx.NodeProto]:
        index, whole, at = (lookup.value(name) for name in ("index", "whole_index", "end_or_index"))
        made = [
            # Indices come as int32 from some graphs.
            helper.make_node("Cast", [lookup.indices], [whole], to=TensorProto.INT64),
            helper.make_node("Min", [whole, end.name], [at]),
        ]
        if plan.slots is None:
            return [*made, helper.make_node("Gather", [kept.name, at], [lookup.output])]
        slot = lookup.value("slot")
        return [
            *made,
            helper.make_node("Gather", [f"{table.name}.slots", at], [slot]),
            helper.make_node("Cast", [slot], [index], to=TensorProto.INT32),
            helper.make_node("Gather", [kept.name, index], [lookup.output]),
        ]

    replace_table(model, table, weights, nodes)


def _parts(table: Table, plan: _Plan) -> Iterator[Array]:
    """The rows that stay, some at a time."""
    for start, values in table.chunks():
        here = plan.stays[(plan.stays >= start) & (plan.stays < start + len(values))]
        if len(here):
            yield values[here - start]


TECHNIQUE = Technique(
    name="drop_rows",
    stage="graph",
    config=DropRowsConfig,
    apply=apply,
    summary="Rows of tables that training never or seldom looks up share one row.",
    source="Frequency thresholding of vocabularies: Zhang et al., Model Size Reduction, 2020 (arXiv 2007.14523)",
    needs_rows=True,
    misfit=without_tables,
)
