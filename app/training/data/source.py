"""Data sources: how they are found, and how what they read becomes a Dataset.

A source is one file in app/training/data/sources/ that ends in `SOURCE = Source(...)`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import ConfigurationError, DataUnavailable
from app.model_card import Data, explain
from app.plugins import parts_of
from app.schema import FeatureSchema, HistoryFeature, Side
from app.training.data import sources as _folder
from app.training.data.dataset import LABEL, TIMESTAMP, Dataset, RawTables


@dataclass(frozen=True)
class Place:
    """Where a source may look: the folder for fetched data, and the model's own folder."""

    cache: Path
    folder: Path

    def file(self, value: str) -> Path:
        """A path of a source's configuration: relative ones lie in the model's folder."""
        return self.folder / value


class SourceConfig(BaseModel):
    """Base of every source's configuration: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Source:
    """A way to read interactions."""

    name: str
    config: type[SourceConfig]
    read: Callable[[Any, Place], RawTables]
    summary: str


@cache
def sources() -> Mapping[str, Source]:
    """Every source by name."""
    return parts_of(_folder, "SOURCE")


def read_dataset(data: Data, schema: FeatureSchema, place: Place) -> Dataset:
    """Read, label and check a data set.

    Raises ConfigurationError for an unknown source, a wrong setting, or a column that the schema or the label rule
    needs and the source does not have; DataUnavailable when the data cannot be had or hold missing ids or labels.
    """
    known = sources()
    if data.source not in known:
        raise ConfigurationError(f"[data]: there is no source {data.source!r}; there are: {', '.join(known)}")
    source = known[data.source]
    try:
        config = source.config.model_validate(data.config)
    except ValidationError as error:
        raise ConfigurationError(f"[data.config] ({source.name}): {explain(error)}") from error
    raw = source.read(config, place)
    interactions = _interactions(raw.interactions, data, schema)
    users = _side_table(raw.users, interactions, schema, Side.USER)
    items = _side_table(raw.items, interactions, schema, Side.ITEM)
    if absent := [name for name in data.display if name not in items.columns]:
        raise ConfigurationError(
            f"[data] display: the items have no column {absent[0]!r}; they have: {', '.join(items.columns)}"
        )
    return Dataset(interactions, users, items, _sha256(interactions, users, items), raw.facts)


def _interactions(frame: pl.DataFrame, data: Data, schema: FeatureSchema) -> pl.DataFrame:
    keys = [schema.user_key, schema.item_key]
    context = [feature.name for feature in schema.of_side(Side.CONTEXT)]
    _need(frame, [*keys, data.label.column, *context], "interactions", data.source)
    if frame.is_empty():
        raise DataUnavailable(f"data source {data.source!r} has no interactions")
    times = [TIMESTAMP] if TIMESTAMP in frame.columns else []
    label = _numbers(frame, data.label.column, data)
    if data.label.at_least is not None:
        label = label >= data.label.at_least
    labelled = frame.with_columns(
        *(pl.col(key).cast(pl.String) for key in keys),
        label.cast(pl.Float32).alias(LABEL),
        *(_numbers(frame, name, data).cast(pl.Int64, strict=False) for name in times),
    )
    _check_labels(labelled, [*keys, *times], data)
    kept = [*keys, LABEL, *times, *context]
    # Columns that no feature names, such as a true probability or the raw rating, stay for whoever measures.
    return labelled.select(*kept, pl.exclude(kept))


def _numbers(frame: pl.DataFrame, column: str, data: Data) -> pl.Series:
    """A column of numbers or booleans. A NaN, which polars puts above every number, becomes a missing value."""
    values = frame[column]
    if values.dtype in (pl.Boolean, pl.Null):
        return values.cast(pl.Float32)
    if not values.dtype.is_numeric():
        raise DataUnavailable(f"the column {column!r} of {data.source!r} does not hold numbers")
    return values.fill_nan(None) if values.dtype.is_float() else values


def _check_labels(frame: pl.DataFrame, needed: list[str], data: Data) -> None:
    for column in (*needed, LABEL):
        if missing := frame[column].null_count():
            raise DataUnavailable(f"{missing} interactions of {data.source!r} have no {column}")
    low, high = frame.select(low=pl.col(LABEL).min(), high=pl.col(LABEL).max()).row(0)
    if low < 0 or high > 1:
        raise ConfigurationError(
            f"[data.label]: labels must lie between 0 and 1, and column {data.label.column!r} "
            f"reaches from {low:g} to {high:g}; set `at_least` to say from which value on it is positive"
        )


def _side_table(
    frame: pl.DataFrame | None, interactions: pl.DataFrame, schema: FeatureSchema, side: Side
) -> pl.DataFrame:
    """One row per id, those that only interactions name included (their features are missing)."""
    key = schema.user_key if side is Side.USER else schema.item_key
    wanted = [f.name for f in schema.of_side(side) if f.name != key and not isinstance(f, HistoryFeature)]
    table = interactions.select(key).unique() if frame is None else frame
    _need(table, [key, *wanted], f"{side}s", "the data source")
    if missing := table[key].null_count():
        raise DataUnavailable(f"{missing} {side}s of the data source have no {key}")
    table = table.with_columns(pl.col(key).cast(pl.String)).unique(key, keep="first", maintain_order=True)
    extra = interactions.select(key).unique().join(table, on=key, how="anti")
    table = pl.concat([table, extra], how="diagonal")
    # By length first: ids that are numbers come in the order a person expects.
    return table.sort(pl.col(key).str.len_chars(), pl.col(key))


def _need(frame: pl.DataFrame, columns: list[str], table: str, source: str) -> None:
    for column in columns:
        if column not in frame.columns:
            has = ", ".join(frame.columns)
            raise ConfigurationError(f"the {table} of {source} have no column {column!r}; they have: {has}")


def _sha256(*frames: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(",".join(frame.columns).encode())
        digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
    return digest.hexdigest()
