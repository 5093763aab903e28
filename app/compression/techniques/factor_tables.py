"""Embedding tables of low rank: narrow tables, and one small matrix each that makes their rows wide again."""

import numpy as np
import onnx
from onnx import helper, numpy_helper
from pydantic import Field

from app.compression.folded_layers import fold_layers, view_of
from app.compression.frequency import row_frequencies
from app.compression.graph import remove_unused
from app.compression.low_rank import Spectrum, balanced, most_rank
from app.compression.tables import Lookup, Table, find_tables, replace_table
from app.compression.technique import Technique, TechniqueConfig, without_tables
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Rows
from app.training.weights import NewWeight


class FactorTablesConfig(TechniqueConfig):
    """Which tables become narrower, how narrow, and by what weights."""

    energy: float = Field(
        default=0.99, gt=0, lt=1, description="Share of a table's numbers that stays, in weighted squares."
    )
    rank: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Width of the narrow tables, instead of a share of their energy.",
    )
    min_rows: int = Field(default=256, ge=1, description="Tables with fewer rows are left alone.")
    frequency_power: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Power of a row's look-ups in training that it weighs by; 0: all rows alike.",
    )


def apply(model: onnx.ModelProto, config: FactorTablesConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with narrow tables, where they and what makes them wide are smaller than the table was.

    Raises CompressionFailed when no table gets smaller, or one has values that are not finite.
    """
    rows = workshop.rows(TECHNIQUE.name)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    chosen = [one for one in find_tables(copy) if one.rows >= config.min_rows]
    widened: set[str] = set()
    for position, table in enumerate(chosen):
        workshop.progress(position / len(chosen), f"factoring {table.name}")
        spectrum = Spectrum.of(_moment(table, config, rows))
        rank = config.rank or spectrum.rank(config.energy)
        if rank <= most_rank(table.rows, table.dimension):
            # In whatever order narrow columns stand, the product is the same; product quantization may follow.
            _replace(copy, table, spectrum.directions[:, balanced(rank)], workshop)
            widened.update(lookup.output for lookup in table.lookups)
    if not widened:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: no table of at least {config.min_rows} rows would get smaller; lower `energy`, `rank` "
            "or `min_rows`, or leave the step out"
        )
    # A dense layer that reads a widened row reads the narrow one as well, by the product of both weights.
    view = view_of(copy, workshop.encoder.schema, max_growth=0)
    fold_layers(copy, view, lambda folding: bool(folding.through & widened))
    remove_unused(copy)
    return copy


def _moment(table: Table, config: FactorTablesConfig, rows: Rows) -> Array:
    """Weighted sum of the outer products of the rows, float64 [dimension, dimension]."""
    # Ids of later rows may well be among those that training never looked up.
    weights = (row_frequencies(table, rows) + 1.0) ** config.frequency_power
    total = np.zeros((table.dimension, table.dimension))
    for start, values in table.chunks():
        wide = values.astype(np.float64)
        total += wide.T @ (wide * weights[start : start + len(wide), None])
    if not np.isfinite(total).all():
        raise CompressionFailed(f"the table {table.name!r} has values that are not finite numbers")
    return total


def _replace(model: onnx.ModelProto, table: Table, directions: Array, workshop: Workshop) -> None:
    """Let every look-up of a table find a narrow row and widen it, in place."""
    rank = directions.shape[1]
    narrow = NewWeight(f"{table.name}.narrow", (table.rows, rank), np.float32, workshop.scratch)
    for _, values in table.chunks():
        narrow.append((values @ directions).astype(np.float32))
    widen = numpy_helper.from_array(
        np.ascontiguousarray(directions.T, dtype=np.float32), f"{table.name}.widen"
    )

    def nodes(lookup: Lookup) -> list[onnx.NodeProto]:
        found = lookup.value("narrow")
        return [
            helper.make_node("Gather", [narrow.name, lookup.indices], [found]),
            helper.make_node("MatMul", [found, widen.name], [lookup.output]),
        ]

    replace_table(model, table, [narrow.tensor(), widen], nodes)


TECHNIQUE = Technique(
    name="factor_tables",
    stage="graph",
    config=FactorTablesConfig,
    apply=apply,
    summary="Tables of low rank, by weights of their rows' look-ups, which the next layer reads as narrow as they are.",
    source="Eckart and Young, 1936; weighted: Chen et al., GroupReduce, NeurIPS 2018 (arXiv 1806.06950)",
    needs_rows=True,
    misfit=without_tables,
)
