"""Training: what is kept, when it stops, when it fails."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from app.errors import CompressionFailed
from app.training.architecture import build
from app.training.fit import FitResult, Lesson, TrainingConfig, fit, predict
from app.training.metrics import auc
from app.training.rows import Rows
from torch import Tensor, nn

from tests.training.lessons import click_lesson, clicks, silent

SMALL = {"embedding_dimension": 4, "hidden": [8]}


def new_module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build("wide_and_deep", SMALL, clicks().encoder)


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"epochs": 2, "batch_size": 256, "learning_rate": 0.01} | changes)


def weights(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@dataclass
class Watched:
    """A progress that remembers the weights and the validation AUC after each epoch."""

    module: nn.Module
    rows: Rows
    shares: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    weights: list[list[Tensor]] = field(default_factory=list)
    auc: list[float] = field(default_factory=list)

    def __call__(self, done: float, what: str) -> None:
        self.shares.append(done)
        self.texts.append(what)
        self.weights.append(weights(self.module))
        self.auc.append(auc(self.rows.labels, predict(self.module, self.rows)))


def watched_fit(lesson: Lesson, **changes: Any) -> tuple[nn.Module, FitResult, Watched]:
    module = new_module()
    watched = Watched(module, lesson.validation)
    return module, fit(module, lesson, config(**changes), watched), watched


def test_the_best_epochs_weights_are_kept() -> None:
    """Such steps overshoot: the last epoch is not the best."""
    module, result, watched = watched_fit(click_lesson(), epochs=8, patience=8, learning_rate=0.5)
    best = int(np.argmax(watched.auc))
    assert result.validation_auc == watched.auc
    assert result.best_epoch == best + 1 < len(watched.auc) == 8
    assert equal(weights(module), watched.weights[best])
    assert not equal(weights(module), watched.weights[-1])
    assert not module.training


@pytest.mark.parametrize("patience", [1, 2])
def test_it_stops_after_so_many_epochs_without_a_better_one(patience: int) -> None:
    _, result, watched = watched_fit(click_lesson(), epochs=100, patience=patience, learning_rate=0.5)
    assert len(watched.auc) == result.best_epoch + patience < 100
    best_yet = np.maximum.accumulate(watched.auc)
    waits = [epoch - int(np.argmax(watched.auc[: epoch + 1])) for epoch in range(len(watched.auc))]
    assert max(waits) == waits[-1] == patience
    assert best_yet[-1] == watched.auc[result.best_epoch - 1]


def test_progress_is_told_after_each_epoch() -> None:
    _, result, watched = watched_fit(click_lesson(), epochs=3)
    assert watched.shares == pytest.approx([1 / 3, 2 / 3, 1])
    assert watched.texts[0] == f"epoch 1: validation AUC {result.validation_auc[0]:.4f}"


def test_equal_seeds_give_equal_weights() -> None:
    runs = []
    for seed in (0, 0, 1):
        module = new_module()
        fit(module, click_lesson(), config(seed=seed, id_dropout=0.1), silent)
        runs.append(weights(module))
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_targets_take_the_place_of_labels() -> None:
    lesson = click_lesson()
    _, taught, _ = watched_fit(replace(lesson, targets=1 - lesson.train.labels.astype(np.float64)))
    _, plain, _ = watched_fit(lesson)
    assert plain.validation_auc[-1] > 0.65
    assert taught.validation_auc[-1] < 0.35, "the opposite was taught"


def test_validation_rows_of_one_class_are_refused() -> None:
    validation = clicks().validation
    for label in (0.0, 1.0):
        rows = replace(validation, labels=np.full_like(validation.labels, label))
        with pytest.raises(CompressionFailed, match="the validation rows are all positive or all negative"):
            fit(new_module(), click_lesson(validation=rows), config(), silent)


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e20},
        {"learning_rate": 1e20, "epochs": 1, "batch_size": 100_000},
    ],
    ids=["while it trains", "at its very last step"],
)
def test_training_that_diverges_fails(changes: dict[str, Any]) -> None:
    with pytest.raises(CompressionFailed, match=r"training diverged: .*; lower learning_rate"):
        fit(new_module(), click_lesson(), config(**changes), silent)


def test_predictions_do_not_depend_on_how_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    module, rows = new_module(), clicks().validation
    whole = predict(module.train(), rows)
    assert not module.training
    assert (whole.shape, whole.dtype) == ((len(rows),), np.float32)
    monkeypatch.setattr("app.training.fit.PREDICT_ROWS", 77)
    np.testing.assert_allclose(predict(module, rows), whole, atol=1e-6)


class KeysSeen(nn.Module):
    """Remembers the keys that it is shown in training."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: dict[str, list[Tensor]] = {"user_id": [], "item_id": [], "segment": []}

    def forward(self, inputs: dict[str, Tensor], _: Tensor) -> Tensor:
        if self.training:
            for name, parts in self.seen.items():
                parts.append(inputs[name])
        return self.weight * inputs["price"]

    def hidden(self, name: str) -> float:
        return float((torch.cat(self.seen[name]) == 0).float().mean())


def test_id_dropout_hides_keys_alone() -> None:
    module = KeysSeen()
    fit(module, click_lesson(), config(id_dropout=0.25), silent)
    assert module.hidden("user_id") == pytest.approx(0.25, abs=0.03)
    assert module.hidden("item_id") == pytest.approx(0.25, abs=0.03)
    assert module.hidden("segment") == 0
    plain = KeysSeen()
    fit(plain, click_lesson(), config(), silent)
    assert plain.hidden("user_id") == 0
    assert sum(len(part) for part in plain.seen["user_id"]) == 2 * len(clicks().train), (
        "every row, every epoch"
    )


def decayed(of: Callable[[nn.Module], Tensor]) -> tuple[float, float]:
    norms = []
    for decay in (0.0, 10.0):
        module = new_module()
        fit(module, click_lesson(), config(weight_decay=decay, epochs=1), silent)
        norms.append(float(of(module).detach().norm()))
    return norms[0], norms[1]


def test_weight_decay_leaves_the_tables_alone() -> None:
    plain, shrunk = decayed(lambda module: module.deep.layers[1].weight)
    assert shrunk < 0.5 * plain
    plain, kept = decayed(lambda module: module.embedding.tables["item_id"].weight)
    assert kept > 0.7 * plain
