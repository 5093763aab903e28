"""The catalog of a model, made from its prepared data."""

import numpy as np

from app.catalog import Catalog
from app.encoding import Array, Encoder
from app.errors import ConfigurationError
from app.schema import is_id, trailing_shape
from app.training.rows import Prepared


def make_catalog(encoder: Encoder, prepared: Prepared | None, display: tuple[str, ...]) -> Catalog:
    """Items, users and what users have interacted with; an empty catalog for a model without data.

    `display` names item columns that answers show. Raises ConfigurationError when the items have no such column.
    """
    if prepared is None:
        return _empty(encoder)
    frame = prepared.dataset.items
    if absent := [name for name in display if name not in frame.columns]:
        known = ", ".join(frame.columns)
        raise ConfigurationError(
            f"[data] display: the items have no column {absent[0]!r}; they have: {known}"
        )
    offsets, seen = _seen(prepared)
    return Catalog(
        encoder=encoder,
        item_ids=list(prepared.item_ids),
        user_ids=list(prepared.user_ids),
        items=dict(prepared.train.items),
        users={**prepared.train.users, **prepared.latest_history},
        display={name: frame[name].to_list() for name in display},
        seen_offsets=offsets,
        seen_items=seen,
    )


def _seen(prepared: Prepared) -> tuple[Array, Array]:
    """Every interaction counts, whatever its split: a person does not want to be shown it again."""
    splits = (prepared.train, prepared.validation, prepared.test)
    users = np.concatenate([split.user_row for split in splits])
    items = np.concatenate([split.item_row for split in splits])
    pairs = np.unique(np.stack([users, items], axis=1), axis=0)
    offsets = np.searchsorted(pairs[:, 0], np.arange(len(prepared.user_ids) + 1)).astype(np.int64)
    return offsets, pairs[:, 1].astype(np.int32)


def _empty(encoder: Encoder) -> Catalog:
    def no_rows(name: str) -> Array:
        feature = encoder.schema[name]
        return np.zeros((0, *trailing_shape(feature)), dtype=np.int64 if is_id(feature) else np.float32)

    schema = encoder.schema
    return Catalog(
        encoder=encoder,
        item_ids=[],
        user_ids=[],
        items={feature.name: no_rows(feature.name) for feature in schema.item_features},
        users={feature.name: no_rows(feature.name) for feature in schema.features if feature.side == "user"},
        display={},
        seen_offsets=np.zeros(1, dtype=np.int64),
        seen_items=np.zeros(0, dtype=np.int32),
    )
