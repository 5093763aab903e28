"""What an Encoder learns from the training rows, and from nothing else: vocabularies and scales."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from app.encoding import Array, Encoder, Scale
from app.errors import ConfigurationError
from app.schema import CategoricalFeature, Feature, FeatureSchema, MultiFeature, NumberFeature, Side
from app.training.data.dataset import Dataset


def fit_encoder(schema: FeatureSchema, dataset: Dataset, train: Array) -> Encoder:
    """Fit on the interactions `train` (row numbers), each weighing its users' and items' features by its occurrence.

    A vocabulary holds the ids with at least `min_count` training rows, the most frequent first: index 1 is the
    hottest row of the table. Raises ConfigurationError when a number column holds something else.
    """
    rows = dataset.interactions[train]
    vocabularies: dict[str, list[str]] = {}
    scales: dict[str, Scale] = {}
    for feature in schema.features:
        if isinstance(feature, CategoricalFeature | MultiFeature) and feature.encoding == "vocabulary":
            vocabularies[feature.name] = _vocabulary(feature, _column(schema, dataset, rows, feature))
        elif isinstance(feature, NumberFeature) and feature.transform != "none":
            scales[feature.name] = _scale(feature, _column(schema, dataset, rows, feature))
    return Encoder(schema, vocabularies, scales)


def _column(schema: FeatureSchema, dataset: Dataset, rows: pl.DataFrame, feature: Feature) -> pl.Series:
    """The feature's raw values, one per training row."""
    if feature.name in rows.columns and (feature.side is Side.CONTEXT or feature.name in _keys(schema)):
        return rows[feature.name]
    key, table = (
        (schema.user_key, dataset.users) if feature.side is Side.USER else (schema.item_key, dataset.items)
    )
    return rows.select(key).join(table.select(key, feature.name), on=key, how="left")[feature.name]


def _keys(schema: FeatureSchema) -> tuple[str, str]:
    return schema.user_key, schema.item_key


def _vocabulary(feature: CategoricalFeature | MultiFeature, values: pl.Series) -> list[str]:
    if isinstance(feature, MultiFeature):
        if values.dtype == pl.String and feature.separator:
            values = values.str.split(feature.separator)
        if isinstance(values.dtype, pl.List):
            values = values.explode()
    ids = values.cast(pl.String).drop_nulls()
    counts = (
        ids.rename("id").value_counts().filter((pl.col("count") >= feature.min_count) & (pl.col("id") != ""))
    )
    by_frequency = counts.sort(["count", "id"], descending=[True, False])
    return [str(one) for one in _each(by_frequency["id"])]


def _each(values: pl.Series) -> Iterable[str]:
    return values.to_list()


def _scale(feature: NumberFeature, values: pl.Series) -> Scale:
    try:
        numbers = values.cast(pl.Float64, strict=True).drop_nulls().drop_nans().to_numpy()
    except pl.exceptions.PolarsError as error:
        raise ConfigurationError(
            f"feature {feature.name!r} is a number, and its column holds something else"
        ) from error
    if feature.transform == "log1p":
        if numbers.size and numbers.min() < 0:
            raise ConfigurationError(
                f"feature {feature.name!r} is log-scaled, and its column holds negative numbers"
            )
        numbers = np.log1p(numbers)
    if not numbers.size:
        return Scale(0.0, 1.0)
    if numbers.min() == numbers.max():
        # No spread: any positive deviation encodes the constant as 0. Rounding would give numbers.std() above 0.
        return Scale(float(numbers[0]), 1.0)
    return Scale(float(numbers.mean()), float(numbers.std()))
