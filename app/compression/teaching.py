"""Teaching a smaller module what a larger one knows: soft targets, also on pairs that nobody has labelled.

Binary cross entropy is linear in its target, so `(1 - share) * label + share * teacher` is exactly the weighted sum of
the loss on the labels and the loss on the teacher's probabilities (Hinton et al., arXiv 1503.02531, temperature 1).
Items that a user never met, asked for real requests, add rows without labels, which the teacher alone answers: they
show the student how the teacher orders what it will be asked to order.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from pydantic import Field
from torch import nn

from app.compression.hints import hints
from app.compression.objective import Answers, ListLoss, Mixture, Objective
from app.compression.technique import TechniqueConfig
from app.compression.unlabelled import Sampling, with_unseen_pairs
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.fit import Lesson, TrainingConfig, fit, predict
from app.training.rows import Rows

# Share of the progress that training further teachers has.
_TEACHERS_SHARE = 0.7


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
    temperature: float = Field(
        default=1.0, ge=0.1, le=20, description="Logits are divided by it where the teacher is compared with."
    )
    teachers: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Teachers whose logits are averaged: the trained one, and others trained for it with other seeds.",
    )
    unlabelled: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Rows with an item that the user never met for each training row, taught by the teacher.",
    )
    sampling: Sampling = Field(
        default="uniform",
        description="How those items are drawn: evenly, or as often as the training rows have them.",
    )
    list_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Weight of the order within a request's rows against the rows one by one; needs unlabelled.",
    )
    list_loss: ListLoss = Field(
        default="softmax",
        description="softmax: cross entropy of a list's softmax; top_k: the teacher's first three are positives.",
    )
    hints: float = Field(
        default=0.0, ge=0, le=100, description="Weight of predicting the teacher's last hidden layer."
    )


def teach(student: nn.Module, config: TeachingConfig, workshop: Workshop) -> None:
    """Train `student` in place by the workshop's teacher and the labels. Raises CompressionFailed."""
    train = workshop.rows("teaching")
    if config.list_share and not config.unlabelled:
        raise CompressionFailed(
            "list_share needs unlabelled above 0: a list is a row and its unlabelled companions"
        )
    teachers, workshop = _gathered(config, workshop)
    rng = np.random.default_rng(workshop.seed)
    workshop.progress(0.0, "asking the teacher")
    rows, requests = with_unseen_pairs(train, round(config.unlabelled * len(train)), config.sampling, rng)
    logits = np.mean([predict(teacher, rows) for teacher in teachers], axis=0)
    share = np.ones(len(rows), dtype=np.float32)
    share[: len(train)] = config.teacher_share
    answers = Answers(rows.labels, logits, share, requests)
    with _lesson(student, answers, rows, config, workshop) as lesson:
        fit(student, lesson, _settings(config, workshop.seed), workshop.progress)


def _gathered(config: TeachingConfig, workshop: Workshop) -> tuple[list[nn.Module], Workshop]:
    """The teachers, and the workshop for what comes after their training."""
    teachers = [workshop.teacher]
    if config.teachers == 1:
        return teachers, workshop
    if workshop.another_teacher is None:
        raise CompressionFailed(
            "teachers: further ones cannot be trained here, because the model has no [training]"
        )
    for number in range(1, config.teachers):
        part = _TEACHERS_SHARE / (config.teachers - 1)
        room = workshop.within((number - 1) * part, number * part)
        teachers.append(workshop.another_teacher(number, room.progress))
    return teachers, workshop.within(_TEACHERS_SHARE, 1.0)


@contextmanager
def _lesson(
    student: nn.Module, answers: Answers, rows: Rows, config: TeachingConfig, workshop: Workshop
) -> Iterator[Lesson]:
    assert workshop.prepared is not None
    schema, validation = workshop.encoder.schema, workshop.prepared.validation
    mixture = Mixture(config.temperature, config.list_share, config.list_loss, config.hints)
    groups = answers.lists if config.list_share else None
    if config.hints:
        torch.manual_seed(workshop.seed)
        example = {name: torch.from_numpy(one) for name, one in rows.inputs(_probe(rows, workshop)).items()}
        with hints(student, workshop.teacher, example) as given:
            yield Lesson(schema, rows, validation, None, Objective(answers, mixture, given), groups)
    elif config.list_share or config.temperature != 1.0:
        yield Lesson(schema, rows, validation, None, Objective(answers, mixture), groups)
    else:
        probabilities = 1.0 / (1.0 + np.exp(-answers.logits))
        targets = (1 - answers.share) * rows.labels + answers.share * probabilities
        yield Lesson(schema, rows, validation, targets)


def _probe(rows: Rows, workshop: Workshop) -> Array:
    """Some rows, to see how widely the teacher's neurons spread."""
    return np.random.default_rng(workshop.seed).integers(len(rows), size=256)


def _settings(config: TeachingConfig, seed: int) -> TrainingConfig:
    return TrainingConfig(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        patience=config.patience,
        id_dropout=config.id_dropout,
        seed=seed,
    )
