"""Encoded interactions.

Features of users and items are encoded once each and joined to the interactions batch by batch, so that memory grows
with the number of rows by a few bytes only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from app.encoding import Array, Encoder
from app.schema import CategoricalFeature, FeatureSchema, HistoryFeature, Side
from app.training.data.dataset import LABEL, TIMESTAMP, Dataset
from app.training.history import histories
from app.training.split import Split


@dataclass(frozen=True)
class Rows:
    """Some interactions of a data set."""

    users: Mapping[str, Array]
    """User features but histories, each [num_users, *trailing_shape]."""
    items: Mapping[str, Array]
    """Item features, each [num_items, *trailing_shape]."""
    per_row: Mapping[str, Array]
    """Context features and histories, each [len(self), *trailing_shape]."""
    user_row: Array
    """int64 [len(self)]: rows of `users`."""
    item_row: Array
    """int64 [len(self)]: rows of `items`."""
    labels: Array
    """float32 [len(self)]."""

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, rows: Array) -> dict[str, Array]:
        """Every feature of the given rows, one value per row: each row is a request with one candidate."""
        users, items = self.user_row[rows], self.item_row[rows]
        joined = {name: values[users] for name, values in self.users.items()}
        joined |= {name: values[items] for name, values in self.items.items()}
        return joined | {name: values[rows] for name, values in self.per_row.items()}

    def take(self, rows: Array) -> "Rows":
        """The given rows alone, over the same users and items."""
        return replace(
            self,
            per_row={name: values[rows] for name, values in self.per_row.items()},
            user_row=self.user_row[rows],
            item_row=self.item_row[rows],
            labels=self.labels[rows],
        )


@dataclass(frozen=True)
class Prepared:
    """A data set, encoded and split."""

    encoder: Encoder
    train: Rows
    validation: Rows
    test: Rows
    user_ids: list[str]
    """Raw ids by row of `users`."""
    item_ids: list[str]
    """Raw ids by row of `items`."""
    latest_history: Mapping[str, Array]
    """History features as of the end of training, each [num_users, max_length]: what serving starts from."""
    dataset: Dataset
    split: Split


def prepare(dataset: Dataset, encoder: Encoder, split: Split) -> Prepared:
    """Encode a data set. Raises InvalidInput naming the feature when a raw value does not fit the schema."""
    schema = encoder.schema
    user_ids, item_ids = dataset.users[schema.user_key].to_list(), dataset.items[schema.item_key].to_list()
    user_row = _positions(dataset.interactions[schema.user_key], user_ids)
    item_row = _positions(dataset.interactions[schema.item_key], item_ids)
    times = dataset.interactions[TIMESTAMP].to_numpy() if TIMESTAMP in dataset.interactions.columns else None
    per_row = {
        feature.name: _encode_column(encoder, feature.name, dataset.interactions)
        for feature in schema.of_side(Side.CONTEXT)
    }
    latest = {}
    for feature in schema.features:
        if isinstance(feature, HistoryFeature):
            ids = _history_ids(encoder, feature, dataset)
            found = histories(user_row, ids[item_row], times, split.train, len(user_ids), feature.max_length)
            per_row[feature.name], latest[feature.name] = found
    every = Rows(
        users=_encode_side(encoder, schema, dataset.users, Side.USER),
        items=_encode_side(encoder, schema, dataset.items, Side.ITEM),
        per_row=per_row,
        user_row=user_row,
        item_row=item_row,
        labels=dataset.interactions[LABEL].to_numpy().astype(np.float32),
    )
    train, validation, test = (every.take(rows) for rows in (split.train, split.validation, split.test))
    return Prepared(encoder, train, validation, test, user_ids, item_ids, latest, dataset, split)


def _encode_side(
    encoder: Encoder, schema: FeatureSchema, table: pl.DataFrame, side: Side
) -> dict[str, Array]:
    features = [one for one in schema.of_side(side) if not isinstance(one, HistoryFeature)]
    return {feature.name: _encode_column(encoder, feature.name, table) for feature in features}


def _encode_column(encoder: Encoder, name: str, table: pl.DataFrame) -> Array:
    column = table[name]
    if isinstance(encoder.schema[name], CategoricalFeature) and column.dtype == pl.String:
        # Text is always an id that can be encoded, so no error tells its place, and equal ones are encoded once.
        distinct = column.unique(maintain_order=True)
        encoded: Array = encoder.encode(name, distinct.to_list())[_positions(column, distinct)]
        return encoded
    return encoder.encode(name, column.to_list())


def _history_ids(encoder: Encoder, feature: HistoryFeature, dataset: Dataset) -> Array:
    """The index of each item in the vocabulary that the history shares."""
    return encoder.encode(feature.of, dataset.items[feature.of].to_list())


def _positions(values: pl.Series, ids: list[str] | pl.Series) -> Array:
    """The position of each value in `ids`, int64; one that is missing is found where `ids` has a missing one."""
    lookup = pl.DataFrame({"id": ids, "row": np.arange(len(ids), dtype=np.int64)})
    return (
        values.rename("id")
        .to_frame()
        .join(lookup, on="id", how="left", maintain_order="left", nulls_equal=True)["row"]
        .to_numpy()
    )
