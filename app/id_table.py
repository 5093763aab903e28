"""Raw ids to rows, many at once: a hash table in two arrays, open addressing with linear probing (Knuth, TAOCP 6.4).

A dict of many texts is spread over memory: each look-up waits for three or four pieces of it in turn. Here all look-ups
of a request are made together, so that their waits overlap, and an id takes tens of bytes, not hundreds. A few ids are
found sooner in a dict, so a table that is small enough has one besides.

Texts are known by Python's 64-bit hash of them, whose key is random for each process. That an id which is not in the
table has the hash of one that is has a chance of one in 2^64 for each entry, and nobody can look for such ids.
"""

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from app.encoding import Array

NONE = -1
_SLOTS_FOR_EACH = 3
_FEW = 200
"""So many ids are found in a dict as soon as here: measured with what comes between two requests, which is a run."""
_DICT_OF_AT_MOST = 100_000


class IdTable:
    """The position of each of `ids`. Raises ValueError when one occurs twice."""

    def __init__(self, ids: Sequence[str]) -> None:
        if len(set(ids)) != len(ids):
            raise ValueError("an id is named twice")
        hashes = _hashes(ids)
        # Not np.unique, which imports numpy.ma: 1.2 MB of every worker.
        ordered = np.sort(hashes)
        if (ordered[1:] == ordered[:-1]).any():
            raise ValueError("two ids have the same hash; start again, and they have others")
        slots = 1 << (_SLOTS_FOR_EACH * len(ids)).bit_length()
        self._mask = slots - 1
        self._hashes = np.zeros(slots, dtype=np.int64)
        self._rows = np.full(slots, NONE, dtype=np.int32)
        self._fill(hashes)
        small = len(ids) <= _DICT_OF_AT_MOST
        self._dict = {raw: row for row, raw in enumerate(ids)} if small else None

    def row(self, raw: str) -> int:
        """The row of an id, or -1."""
        if self._dict is not None:
            return self._dict.get(raw, NONE)
        value = hash(raw)
        slot = value & self._mask
        while (row := int(self._rows[slot])) != NONE:
            if self._hashes[slot] == value:
                return row
            slot = (slot + 1) & self._mask
        return NONE

    def rows(self, raw: Sequence[str]) -> Array:
        """The rows of ids, int64 [len(raw)]; -1 where the table does not have them."""
        if self._dict is not None and len(raw) <= _FEW:
            return np.fromiter(map(self._dict.get, raw, repeat(NONE)), dtype=np.int64, count=len(raw))
        hashes = _hashes(raw)
        slots = hashes & self._mask
        found: Array = self._rows.take(slots).astype(np.int64)
        wrong = np.flatnonzero(self._hashes.take(slots) != hashes)
        while len(wrong):
            wrong = wrong[found[wrong] != NONE]  # an empty slot: it is not there
            slot = (slots[wrong] + 1) & self._mask
            slots[wrong] = slot
            found[wrong] = self._rows[slot]
            wrong = wrong[self._hashes[slot] != hashes[wrong]]
        return found

    def _fill(self, hashes: Array) -> None:
        """Each round, whoever finds its slot free takes it; of several the last, and the others look at the next."""
        left = np.arange(len(hashes), dtype=np.int32)
        slots = hashes & self._mask
        while len(left):
            free = self._rows[slots] == NONE
            self._rows[slots[free]] = left[free]
            placed = self._rows[slots] == left
            self._hashes[slots[placed]] = hashes[left[placed]]
            left, slots = left[~placed], (slots[~placed] + 1) & self._mask


def _hashes(ids: Sequence[str]) -> Array:
    return np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
