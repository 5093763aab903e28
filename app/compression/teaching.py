"""Teaching a smaller module what a larger one knows: soft targets, also on pairs that nobody has labelled.

Binary cross entropy is linear in its target, so `(1 - share) * label + share * teacher` is exactly the weighted sum of
the loss on the labels and the loss on the teacher's probabilities (Hinton et al., arXiv 1503.02531, temperature 1).
Random items for real requests add rows without labels, which the teacher alone answers: they show the student how the
teacher orders what a user has never met, which is what it will be asked.
"""

from dataclasses import replace

import numpy as np
from pydantic import Field
from torch import nn

from app.compression.technique import TechniqueConfig
from app.compression.workshop import Workshop
from app.encoding import Array
from app.training.fit import Lesson, TrainingConfig, fit, predict
from app.training.rows import Rows


class TeachingConfig(TechniqueConfig):
    """How a student is taught."""

    epochs: int = Field(default=10, ge=1, le=1000, description="Most passes over the rows.")
    patience: int = Field(
        default=3, ge=1, description="Epochs without a better validation AUC before it stops."
    )
    batch_size: int = Field(default=1024, ge=1, description="Rows of one step.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Step size of AdamW.")
    id_dropout: float = Field(default=0.0, ge=0, lt=1, description="Chance that a key id is hidden.")
    teacher_share: float = Field(
        default=0.7, ge=0, le=1, description="Weight of the teacher against the labels, on labelled rows."
    )
    unlabelled: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Rows with a random item for each training row, taught by the teacher.",
    )


def teach(student: nn.Module, config: TeachingConfig, workshop: Workshop) -> None:
    """Train `student` in place by the workshop's teacher and the labels. Raises CompressionFailed."""
    train = workshop.rows("teaching")
    assert workshop.prepared is not None
    rng = np.random.default_rng(workshop.seed)
    workshop.progress(0.0, "asking the teacher")
    rows = with_random_items(train, round(config.unlabelled * len(train)), rng)
    targets = _probabilities(workshop.teacher, rows)
    share = config.teacher_share
    targets[: len(train)] = (1 - share) * train.labels + share * targets[: len(train)]
    settings = TrainingConfig(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        patience=config.patience,
        id_dropout=config.id_dropout,
        seed=workshop.seed,
    )
    lesson = Lesson(workshop.encoder.schema, rows, workshop.prepared.validation, targets)
    fit(student, lesson, settings, workshop.progress)


def with_random_items(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    """The rows, and `count` more: requests of random rows, each with a random item and the label 0.5."""
    requests = rng.integers(len(rows), size=count)
    num_items = len(next(iter(rows.items.values())))
    return replace(
        rows,
        per_row={name: np.concatenate([values, values[requests]]) for name, values in rows.per_row.items()},
        user_row=np.concatenate([rows.user_row, rows.user_row[requests]]),
        item_row=np.concatenate([rows.item_row, rng.integers(num_items, size=count)]),
        labels=np.concatenate([rows.labels, np.full(count, 0.5, dtype=np.float32)]),
    )


def _probabilities(teacher: nn.Module, rows: Rows) -> Array:
    probabilities: Array = 1.0 / (1.0 + np.exp(-predict(teacher, rows)))
    return probabilities
