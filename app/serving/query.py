"""What a request asks, before any id has become an index, and what it is answered."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.encoding import Array

Candidates = Sequence[str] | Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]
"""Ids; or an object for each candidate; or a list for each feature."""


class Query(msgspec.Struct, frozen=True):
    """A ranking request in raw values."""

    user: Mapping[str, Any]
    context: Mapping[str, Any]
    candidates: Candidates | None
    """None: the whole catalog but what is excluded."""
    k: int | None = None
    """How many of the best are wanted; None: all."""
    variant: str = "auto"
    deadline: float = float("inf")
    """On the clock of time.perf_counter(), in seconds."""
    exclude: Sequence[str] = ()
    exclude_seen: bool = False
    are_texts: bool = False
    """Whether it is known that all candidates are texts."""


class Features(msgspec.Struct, frozen=True):
    """A request as the graph eats it: request features [1, ...], item features [rows, ...].

    Items as the catalog has them are named by their rows alone: their features are read when they are run.
    """

    inputs: Mapping[str, Array]
    rows: int
    catalog_rows: Array | None = None
    """int64 [rows]: the catalog's row of each candidate; `inputs` has no item features then."""


class Encoded(msgspec.Struct, frozen=True):
    """Features, and what is needed to name the rows again."""

    features: Features
    item_ids: Sequence[str]
    """Raw id of each row."""
    catalog_rows: Array
    """int64 [rows]: the catalog's row of each candidate; -1 for one that it does not have."""
    unknown_items: Sequence[str]
    unknown_user: bool


class RankedItem(msgspec.Struct, frozen=True, gc=False):
    """One line of a ranking; `rank` counts from 1."""

    item_id: str
    score: float
    rank: int
    display: Mapping[str, Any]


class Timing(msgspec.Struct, gc=False):
    """Milliseconds that a request spent in each stage."""

    encode_ms: float = 0.0
    queue_ms: float = 0.0
    infer_ms: float = 0.0


class Ranking(msgspec.Struct, frozen=True):
    """The answer: items best first, and who made it."""

    variant: str
    version: str
    degraded_reason: str | None
    items: Sequence[RankedItem]
    unknown_items: Sequence[str]
    unknown_user: bool
    candidates: int
    """Rows that were scored."""
    timing: Timing
