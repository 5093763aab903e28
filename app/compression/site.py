"""What a compression run is told and what it tells: where to work, what to make, what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from app.store import ArtifactStore


@dataclass(frozen=True)
class Site:
    """Where compression reads and writes."""

    models: Path
    store: ArtifactStore
    cache: Path
    keep_versions: int = 2


@dataclass(frozen=True)
class Selection:
    """What to make: named recipes (all of the card's, with None), or one recipe that the card does not have."""

    recipes: Sequence[str] | None = None
    recipe: dict[str, Any] | None = None
    force: bool = False
    """Make them even where they are up to date."""
    origin: str = "command line"
    """Who asked: a roll-back undoes everything that one origin activated in a row."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one variant; `version` is None when it could not be made, and `reason` says why."""

    variant: str
    version: str | None
    outcome: Literal["baseline", "passed", "rejected", "failed"]
    reason: str
    reused: bool
    seconds: float
