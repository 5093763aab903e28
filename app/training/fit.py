"""Training: mini-batches, Adam, early stopping on the validation rows, the same result for the same seed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from app.encoding import Array
from app.errors import CompressionFailed
from app.schema import FeatureSchema
from app.training.metrics import auc
from app.training.optimizers import OptimizerConfig, Optimizers
from app.training.rows import Rows

Progress = Callable[[float, str], None]
PREDICT_ROWS = 8192
DIVERGED = "training diverged: the loss is not a number; lower learning_rate"


class TrainingConfig(OptimizerConfig):
    """How a module is trained; the table [training] of a model card."""

    epochs: int = Field(default=20, ge=1, le=1000, description="Most passes over the rows.")
    batch_size: int = Field(default=1024, ge=1)
    patience: int = Field(
        default=3, ge=1, description="Epochs without a better validation AUC before it stops."
    )
    id_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Chance that a key id is hidden, so that unknown ids are learned.",
    )
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class FitResult:
    """How training went."""

    best_epoch: int
    """Counted from 1; its weights are the ones kept."""
    validation_auc: list[float]
    """After each epoch."""
    seconds: float


class Batches:
    """Rows as tensors, given batch by batch."""

    def __init__(self, rows: Rows, schema: FeatureSchema) -> None:
        self.rows = rows
        self.keys = [
            name
            for name in (schema.user_key, schema.item_key)
            if any(f.name == name for f in schema.features)
        ]

    def inputs(self, rows: Array) -> dict[str, Tensor]:
        """Every feature of the given rows, one value per row."""
        return {name: torch.from_numpy(values) for name, values in self.rows.inputs(rows).items()}

    def shuffled(self, size: int, rng: np.random.Generator, groups: Array | None = None) -> Iterator[Array]:
        """Row numbers of one pass, `size` at a time; rows of one group follow each other."""
        if groups is None:
            order = rng.permutation(len(self.rows))
        else:
            order = np.argsort(rng.permutation(int(groups.max()) + 1)[groups], kind="stable")
        for start in range(0, len(order), size):
            yield order[start : start + size]


@dataclass(frozen=True)
class Lesson:
    """What a module is taught with."""

    schema: FeatureSchema
    train: Rows
    validation: Rows
    targets: Array | None = None
    """float32 [len(train)] in [0, 1]; None: the labels. Binary cross entropy is linear in its target, so a mixture of
    labels and a teacher's probabilities distils (Hinton et al., arXiv 1503.02531)."""
    objective: nn.Module | None = None
    """The loss in place of binary cross entropy: `objective(module, inputs, rows)`. Its weights are trained too."""
    groups: Array | None = None
    """int64 [len(train)]: rows of one number come in one batch, but for those that lie where a batch ends."""


def fit(module: nn.Module, lesson: Lesson, config: TrainingConfig, progress: Progress) -> FitResult:
    """Train `module` in place and leave it with the weights of its best epoch, in evaluation mode.

    Raises CompressionFailed when the loss is no longer a number, or the validation rows hold only one class.
    """
    train, validation = lesson.train, lesson.validation
    if len(np.unique(validation.labels >= 0.5)) < 2:
        raise CompressionFailed(
            "the validation rows are all positive or all negative: there is no AUC to stop by"
        )
    started = time.monotonic()
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    batches = Batches(train, lesson.schema)
    objective = lesson.objective or _CrossEntropy(train.labels if lesson.targets is None else lesson.targets)
    steps = config.epochs * -(-len(train) // config.batch_size)
    optimizers = Optimizers(module, objective, config, steps)
    history: list[float] = []
    best: dict[str, Tensor] = {}
    for epoch in range(1, config.epochs + 1):
        with optimizers.at_work():
            _epoch(module, batches, (objective, lesson.groups), optimizers, (config, rng))
        logits = predict(module, validation)
        if not np.isfinite(logits).all():
            raise CompressionFailed(DIVERGED)
        history.append(auc(validation.labels, logits))
        best_epoch = int(np.argmax(history)) + 1
        if epoch == best_epoch:
            best = {name: value.clone() for name, value in module.state_dict().items()}
        progress(epoch / config.epochs, f"epoch {epoch}: validation AUC {history[-1]:.4f}")
        if epoch - best_epoch >= config.patience:
            break
    module.load_state_dict(best)
    module.eval()
    return FitResult(best_epoch, history, round(time.monotonic() - started, 3))


def predict(module: nn.Module, rows: Rows) -> Array:
    """Logits float32 [len(rows)], in evaluation mode, without dropout."""
    module.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), PREDICT_ROWS):
            chunk = np.arange(start, min(start + PREDICT_ROWS, len(rows)))
            inputs = {name: torch.from_numpy(values) for name, values in rows.inputs(chunk).items()}
            parts.append(module(inputs, torch.arange(len(chunk))).numpy())
    return np.concatenate(parts)


def _epoch(
    module: nn.Module,
    batches: Batches,
    goal: tuple[nn.Module, Array | None],
    optimizers: Optimizers,
    plan: tuple[TrainingConfig, np.random.Generator],
) -> None:
    config, rng = plan
    objective, groups = goal
    module.train()
    for rows in batches.shuffled(config.batch_size, rng, groups):
        inputs = batches.inputs(rows)
        for key in batches.keys if config.id_dropout else ():
            inputs[key] = inputs[key] * torch.from_numpy(rng.random(len(rows)) >= config.id_dropout)
        loss: Tensor = objective(module, inputs, rows)
        optimizers.step(loss, len(rows))
        if not torch.isfinite(loss):
            raise CompressionFailed(DIVERGED)


class _CrossEntropy(nn.Module):
    """Mean binary cross entropy against a target for each row."""

    def __init__(self, targets: Array) -> None:
        super().__init__()
        self.targets = torch.from_numpy(targets.astype(np.float32))

    def forward(self, module: nn.Module, inputs: dict[str, Tensor], rows: Array) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            module(inputs, torch.arange(len(rows))), self.targets[rows]
        )
