"""What a step may use besides the model: rows, the encoder, a seed, threads, and a way to tell how far it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.encoding import Encoder
from app.errors import CompressionFailed
from app.report import Machine
from app.training.rows import Prepared, Rows

Progress = Callable[[float, str], None]
"""Told the fraction done (0 to 1) and what is being done. It may raise, to cancel the work."""
Note = Callable[[str], None]
"""Told, in one line, what a step decided by measurement: it stands in the variant's report."""


def no_notes(line: str) -> None:
    """For work whose notes nobody reads."""


@dataclass(frozen=True)
class Workshop:
    """The surroundings of one step."""

    encoder: Encoder
    prepared: Prepared | None
    """Training, validation and test rows; None for a model without data. Steps must not look at the test rows."""
    seed: int
    machine: Machine
    progress: Progress
    note: Note = no_notes
    teacher: Any = None
    """The recipe's starting module (`nn.Module`), for distillation; None for a ready graph."""
    scratch: Path | None = None
    """A folder for large new weights, which lasts until the graph is written; without it the graph holds them."""
    another_teacher: Callable[[int, Progress], Any] | None = None
    """Trains the model again for an ensemble: number 1, 2, ... is one more seed. None where that cannot be done."""

    def rows(self, what_for: str) -> Rows:
        """The training rows. Raises CompressionFailed when the model has no data."""
        if self.prepared is None:
            raise CompressionFailed(f"{what_for} needs rows, and the model's card has no [data]")
        return self.prepared.train

    def within(self, start: float, end: float) -> "Workshop":
        """The same surroundings, whose progress from 0 to 1 counts as `start` to `end` of the whole."""
        outer = self.progress
        return replace(self, progress=lambda done, what: outer(start + (end - start) * done, what))
