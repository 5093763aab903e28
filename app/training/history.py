"""Histories: the items a user met before an interaction, from training rows only, so that nothing leaks back."""

import numpy as np

from app.encoding import Array


def histories(
    user_row: Array, item_index: Array, times: Array | None, train: Array, num_users: int, length: int
) -> tuple[Array, Array]:
    """For each interaction the user's last `length` earlier training items, and for each user the last of all.

    `user_row` and `item_index` are int64 [n]; `times` orders the interactions (their row order counts where it is
    None, and between equal times). Items out of vocabulary (index 0) are left out. Gives int64 [n, length] and
    int64 [num_users, length]: newest last among the used places, then padding 0.
    """
    rows = len(user_row)
    in_train = np.zeros(rows, dtype=bool)
    in_train[train] = True
    counts = in_train & (item_index != 0)
    moments = np.arange(rows) if times is None else times
    # By user, then time, then row: each user's rows stand together, oldest first.
    order = np.lexsort((np.arange(rows), moments, user_row))
    kept = order[counts[order]]
    kept_items = item_index[kept]
    # How many kept rows stand before each row in that order; the same for the first row of each user.
    before = np.concatenate([[0], np.cumsum(counts[order])])
    first_of_user = np.searchsorted(user_row[order], np.arange(num_users + 1))
    found = np.zeros((rows, length), dtype=np.int64)
    found[order] = _windows(kept_items, before[first_of_user[user_row[order]]], before[:-1], length)
    latest = _windows(kept_items, before[first_of_user[:-1]], before[first_of_user[1:]], length)
    return found, latest


def _windows(items: Array, begin: Array, end: Array, length: int) -> Array:
    """The last `length` items of each range [begin, end), left-aligned and padded with 0."""
    start = np.maximum(begin, end - length)
    places = start[:, None] + np.arange(length)
    inside = places < end[:, None]
    if not len(items):
        return np.zeros(places.shape, dtype=np.int64)
    return np.where(inside, items[np.minimum(places, len(items) - 1)], 0)
