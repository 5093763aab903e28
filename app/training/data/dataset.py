"""Interactions with users and items beside them: what every data source gives."""

from dataclasses import dataclass, field

import polars as pl

LABEL = "label"
TIMESTAMP = "timestamp"


@dataclass(frozen=True)
class RawTables:
    """What a source reads, before the label rule: raw ids as text, other columns as they come."""

    interactions: pl.DataFrame
    users: pl.DataFrame | None = None
    """One row per user; None where the source knows nothing but their ids."""
    items: pl.DataFrame | None = None
    facts: dict[str, float] = field(default_factory=dict)
    """What the source knows of itself, such as its Bayes-optimal AUC."""


@dataclass(frozen=True)
class Dataset:
    """Raw values, checked and labelled.

    `interactions` has the keys as text, `label` as Float32 in [0, 1], `timestamp` (Int64, seconds) where the source
    has one, and the context features; `users` and `items` have one row per id that occurs anywhere.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    sha256: str
    facts: dict[str, float]
