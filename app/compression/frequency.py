"""How often each row of a table is looked up in the training rows: which rows an error costs most in."""

import numpy as np

from app.compression.tables import Table
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Rows

_CHUNK = 1 << 18


def row_frequencies(table: Table, rows: Rows | None) -> Array:
    """Look-ups of each row of the table, float64 [table.rows]; ones where nothing is known of them.

    Each used place of a list counts, padding does not; features that share the table are added up. Nothing is known
    without rows, and where a look-up's indices are computed from its features in another way than one by one. Rows that
    are never looked up have 0. Raises CompressionFailed when the rows hold an index that the table does not have.
    """
    if rows is None or not len(rows) or not all(one.features or one.mapped for one in table.lookups):
        return np.ones(table.rows)
    total = np.zeros(table.rows)
    for lookup in table.lookups:
        # A feature that is looked up twice is so for every row, and is given its weight once for each.
        for feature in lookup.features:
            _add(total, _of_feature(feature, rows), feature, table)
        if lookup.mapped is not None:
            counts = _of_feature(lookup.mapped.feature, rows)
            found = lookup.mapped.rows(np.arange(len(counts)))
            _add(total, np.bincount(found, weights=counts), lookup.mapped.feature, table)
    return total


def _add(total: Array, counts: Array, feature: str, table: Table) -> None:
    if len(counts) > table.rows:
        raise CompressionFailed(
            f"feature {feature!r} has the index {len(counts) - 1}, "
            f"and the table {table.name!r} only {table.rows} rows"
        )
    total[: len(counts)] += counts


def _of_feature(name: str, rows: Rows) -> Array:
    """How often each index of a feature occurs, float64 [its largest index + 1]."""
    for values, owner in ((rows.users, rows.user_row), (rows.items, rows.item_row)):
        if name in values:
            # Values of a user or an item count once for each of its rows, which are not spread out for it.
            return _counted(values[name], np.bincount(owner, minlength=len(values[name])).astype(np.float64))
    return _counted(rows.per_row[name], np.ones(len(rows)))


def _counted(values: Array, weights: Array) -> Array:
    """Sum of the weights of the owners of each index; `values` is int64 [owners] or [owners, length] with padding 0."""
    places = values.reshape(len(values), -1)
    total = np.zeros(int(places.max(initial=0)) + 1)
    for start in range(0, len(places), _CHUNK):
        some = places[start : start + _CHUNK]
        spread = np.repeat(weights[start : start + _CHUNK], some.shape[1])
        total += np.bincount(some.ravel(), weights=spread, minlength=len(total))
    if values.ndim > 1:
        total[0] = 0
    return total
