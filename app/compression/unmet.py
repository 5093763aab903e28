"""Pairs that never met: random items for a user, drawn among those that the user never interacted with.

The u-th such item of a user is found by binary search in what the user did meet, so that a draw costs neither a table
of all pairs nor a second try.
"""

import numpy as np

from app.encoding import Array
from app.training.rows import Rows


class Unmet:
    """For each user, the items of no interaction in some rows."""

    def __init__(self, parts: list[Rows]) -> None:
        self.num_items = len(next(iter(parts[0].items.values())))
        num_users = 1 + max((int(part.user_row.max(initial=0)) for part in parts), default=0)
        met = np.unique(np.concatenate([part.user_row * self.num_items + part.item_row for part in parts]))
        users, items = np.divmod(met, self.num_items)
        self._starts = np.searchsorted(users, np.arange(num_users + 1))
        # How many items before each met one were not met: ascending for each user, and so with the user in front.
        skipped = items - (np.arange(len(met)) - self._starts[users])
        self._keys = users * (self.num_items + 1) + skipped
        self._met = met

    def count(self, users: Array) -> Array:
        """How many items each user never met, int64 [len(users)]."""
        counts: Array = self.num_items - (self._starts[users + 1] - self._starts[users])
        return counts

    def items(self, users: Array, ranks: Array) -> Array:
        """The item row of each user's unmet item number `rank` (from 0, below `count`), int64 [len(users)]."""
        before = np.searchsorted(self._keys, users * (self.num_items + 1) + ranks, side="right")
        found: Array = ranks + before - self._starts[users]
        return found

    def holds(self, users: Array, items: Array) -> Array:
        """Whether each pair never met, bool [len(users)]."""
        codes = users * self.num_items + items
        places = np.minimum(np.searchsorted(self._met, codes), max(0, len(self._met) - 1))
        unmet: Array = self._met[places] != codes if len(self._met) else np.ones(len(codes), dtype=bool)
        return unmet

    def draw(self, users: Array, rng: np.random.Generator) -> Array:
        """One unmet item for each user, each as likely, int64 [len(users)]; every user must have one."""
        return self.items(users, rng.integers(self.count(users)))

    def draw_distinct(self, users: Array, size: int, rng: np.random.Generator) -> Array:
        """`size` different unmet items for each user, int64 [len(users), size]; every user must have as many.

        Floyd's algorithm for all users at once: every set of items is as likely (Bentley and Floyd, CACM 1987).
        """
        counts = self.count(users)
        ranks = np.full((len(users), size), -1, dtype=np.int64)
        for place in range(size):
            last = counts - size + place
            drawn = rng.integers(last + 1)
            taken = (ranks[:, :place] == drawn[:, None]).any(axis=1)
            ranks[:, place] = np.where(taken, last, drawn)
        return self.items(np.repeat(users, size), ranks.ravel()).reshape(len(users), size)
