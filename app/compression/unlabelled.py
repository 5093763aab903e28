"""Rows that nobody has labelled: real requests with items that their user never met, for a teacher to answer."""

from dataclasses import replace
from typing import Literal

import numpy as np

from app.compression.unmet import Unmet
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Rows

Sampling = Literal["uniform", "traffic"]
_TRIES = 16


def with_unseen_pairs(
    rows: Rows, count: int, sampling: Sampling, rng: np.random.Generator
) -> tuple[Rows, Array]:
    """The rows, and `count` more: requests of random rows, each with an item that its user meets in none of the rows.

    Items are drawn evenly over the catalog ("uniform") or as often as the rows have them ("traffic"). New rows have
    the label 0.5. Gives the rows and, for each of them, the row whose request it has, int64 [len(rows) + count].
    Raises CompressionFailed when every user has met every item.
    """
    own = np.arange(len(rows))
    if not count:
        return rows, own
    unmet = Unmet([rows])
    possible = np.flatnonzero(unmet.count(rows.user_row))
    if not len(possible):
        raise CompressionFailed(
            "every user has met every item: there are no pairs without a label to ask about"
        )
    requests = possible[rng.integers(len(possible), size=count)]
    items = _drawn(rows, rows.user_row[requests], unmet, sampling, rng)
    more = replace(
        rows,
        per_row={name: np.concatenate([values, values[requests]]) for name, values in rows.per_row.items()},
        user_row=np.concatenate([rows.user_row, rows.user_row[requests]]),
        item_row=np.concatenate([rows.item_row, items]),
        labels=np.concatenate([rows.labels, np.full(count, 0.5, dtype=np.float32)]),
    )
    return more, np.concatenate([own, requests])


def _drawn(rows: Rows, users: Array, unmet: Unmet, sampling: Sampling, rng: np.random.Generator) -> Array:
    items = unmet.draw(users, rng)
    if sampling == "uniform":
        return items
    # Popular items until one is new to the user; who has met nearly all of them keeps the evenly drawn one.
    left = np.arange(len(users))
    for _ in range(_TRIES):
        popular = rows.item_row[rng.integers(len(rows), size=len(left))]
        new = unmet.holds(users[left], popular)
        items[left[new]] = popular[new]
        left = left[~new]
    return items
