"""Embedding tables in 8, 4 or 2 bits, with a range for each row or block, or in fp16."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import numpy as np
import onnx
from onnx import TensorProto, helper
from pydantic import Field, model_validator

from app.compression.hot_rows import HotRows, hottest
from app.compression.table_coding import CHUNK_BYTES, Coding, Rows, code_rows
from app.compression.table_forms import Form, block_of, weights_of
from app.compression.tables import Lookup, Table, find_tables, replace_table
from app.compression.technique import Technique, TechniqueConfig, without_tables
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.weights import NewWeight, is_external

_TELL_BYTES = 1 << 27
# Of BitShift.
_OLDEST_OPSET = 11


class QuantizeTablesConfig(TechniqueConfig):
    """Which tables are quantized, and how."""

    bits: Literal[16, 8, 4, 2] = Field(
        default=8, description="Bits of a value; 16 stores fp16, without ranges."
    )
    granularity: Literal["per_row", "per_block"] = Field(
        default="per_row", description="What shares a range: a row, or `block` values of it."
    )
    block: Literal[16, 32, 64, 128, 256] = Field(
        default=32,
        description="Values of a block; halved, down to 16, until it divides the row, which is else one block.",
    )
    clip: Literal["search", "minmax"] = Field(
        default="search",
        description="search: the range of least squared error; minmax: from the smallest value to the largest.",
    )
    symmetric: bool = Field(
        default=False,
        description="Ranges around zero, which need a step alone and no low: less precise, and smaller.",
    )
    encoding: Literal["auto", "standard", "contrib"] = Field(
        default="auto",
        description="standard: operators of ONNX alone; contrib: GatherBlockQuantized; auto: what runs faster here.",
    )
    ranges: Literal["auto", "fp16", "fp32"] = Field(
        default="auto", description="How ranges are stored; auto: fp16 where that moves none by much."
    )
    hot_rows: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="Share (below 1) or number of the most looked-up rows that keep 8 bits.",
    )
    min_rows: int = Field(default=256, ge=1, description="Tables with fewer rows are left alone.")

    @model_validator(mode="after")
    def _hot_rows_keep_more(self) -> Self:
        if self.hot_rows and self.bits not in (4, 2):
            raise ValueError("hot_rows keep 8 bits, and go with bits = 4 or bits = 2")
        return self


def apply(model: onnx.ModelProto, config: QuantizeTablesConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with smaller tables. Raises CompressionFailed when it has none that would become smaller."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    tables = [one for one in find_tables(made) if one.rows >= config.min_rows and _gets_smaller(one, config)]
    if not tables:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: no embedding table of the graph has {config.min_rows} rows and gets smaller"
        )
    opset = next(one.version for one in made.opset_import if one.domain in ("", "ai.onnx"))
    if opset < _OLDEST_OPSET:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has version {opset} of ONNX's operators, and needs {_OLDEST_OPSET}"
        )
    for position, table in enumerate(tables):
        part = workshop.within(position / len(tables), (position + 1) / len(tables))
        folder = workshop.scratch if is_external(table.tensor) else None
        if config.bits == 16:
            _halve(made, table, folder, part)
        else:
            _code(made, table, config, _coding(config, workshop, opset, folder), part)
    return made


def _gets_smaller(table: Table, config: QuantizeTablesConfig) -> bool:
    if config.bits == 16:
        return True
    block = block_of(table.dimension, config.granularity, config.block)
    form = Form(table.name, "standard", config.bits, table.dimension, block, np.float16, config.symmetric)
    return form.row_bytes() < 4 * table.dimension


def _coding(config: QuantizeTablesConfig, workshop: Workshop, opset: int, folder: Path | None) -> Coding:
    return Coding(
        bits=config.bits,
        granularity=config.granularity,
        block=config.block,
        search=config.clip == "search",
        symmetric=config.symmetric,
        encoding=config.encoding,
        ranges=config.ranges,
        seed=workshop.seed,
        opset=opset,
        folder=folder,
    )


def _halve(model: onnx.ModelProto, table: Table, folder: Path | None, workshop: Workshop) -> None:
    """Store a table as fp16."""
    weight = NewWeight(f"{table.name}.fp16", (table.rows, table.dimension), np.float16, folder)
    for _, values in _watched(table, workshop):
        if not np.abs(values).max(initial=0) <= np.finfo(np.float16).max:
            raise CompressionFailed(f"{TECHNIQUE.name}: {table.name!r} has values that fp16 cannot hold")
        weight.append(values.astype(np.float16))

    def nodes(lookup: Lookup) -> list[onnx.NodeProto]:
        found = lookup.value("fp16")
        return [
            helper.make_node("Gather", [weight.name, lookup.indices], [found]),
            helper.make_node("Cast", [found], [lookup.output], to=TensorProto.FLOAT),
        ]

    replace_table(model, table, [weight.tensor()], nodes)


def _code(
    model: onnx.ModelProto, table: Table, config: QuantizeTablesConfig, coding: Coding, workshop: Workshop
) -> None:
    """Store a table in codes, and of its hot rows what the codes leave."""
    hot = hottest(table, config.hot_rows, workshop) if config.hot_rows else None
    source = Rows(table.name, table.rows, table.dimension, lambda: _watched(table, workshop))
    coded = code_rows(source, coding)
    weights = list(coded.weights)
    rest = None
    if hot is not None and coding.bits < 8:
        rest = HotRows.of(table, hot, coded, coding)
        weights += rest.weights
    constants: dict[str, Array] = {}

    def nodes(lookup: Lookup) -> list[onnx.NodeProto]:
        if rest is not None:
            made, more = rest.nodes(coded.form, lookup)
        else:
            made, more = coded.form.nodes(lookup.indices, lookup.output)
        constants.update(more)
        return made

    replace_table(model, table, weights, nodes)
    model.graph.initializer.extend(weights_of(constants))


def _watched(table: Table, workshop: Workshop) -> Iterator[tuple[int, Array]]:
    """The rows of a table, with a word of progress now and then where it is large."""
    rows = max(1, CHUNK_BYTES // (4 * table.dimension))
    told = 0
    for start, values in table.chunks(rows):
        if (start - told) * table.dimension * 4 >= _TELL_BYTES:
            told = start
            workshop.progress(0, f"{TECHNIQUE.name}: row {start:,} of {table.rows:,} of {table.name}")
        yield start, values


TECHNIQUE = Technique(
    name="quantize_tables",
    stage="graph",
    config=QuantizeTablesConfig,
    apply=apply,
    summary="Embedding tables in 8, 4 or 2 bits with a range for each row or block, or in fp16.",
    source="Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019 (arXiv 1911.02079)",
    needs_rows=False,
    misfit=without_tables,
)
