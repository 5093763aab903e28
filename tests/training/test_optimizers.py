"""How weights follow their gradients: row-wise Adagrad beside AdamW, and step sizes that fall."""

from typing import Any

import numpy as np
import pytest
import torch
from app.training.architecture import build
from app.training.fit import TrainingConfig, fit
from app.training.optimizers import OptimizerConfig, Optimizers, RowWiseAdagrad
from torch import Tensor, nn

from tests.training.lessons import click_lesson, clicks, silent

ADAGRAD = {"tables": "rowwise_adagrad", "table_learning_rate": 0.3, "table_damping": 0.01}


class Tables(nn.Module):
    """Nothing but two tables: a score is the sum of the first numbers of two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Embedding(5, 2), nn.Embedding(3, 2)

    def forward(self, rows: Tensor) -> Tensor:
        total: Tensor = self.one(rows).sum(1) + self.other(rows % 3).sum(1)
        return total


def config(**changes: Any) -> OptimizerConfig:
    return OptimizerConfig.model_validate(changes)


def test_a_row_moves_by_its_gradient_over_the_root_of_its_own_sum() -> None:
    table = nn.Parameter(torch.zeros(4, 2))
    adagrad = RowWiseAdagrad([table], damping=0.5)
    first, second = torch.tensor([[3.0, 1.0]]), torch.tensor([[0.0, 2.0]])
    for gradient in (first, second):
        # The gradient of a mean over 8 rows; row 2 occurs twice in the batch.
        halves = torch.cat([gradient, gradient]) / 2 / 8
        table.grad = torch.sparse_coo_tensor(torch.tensor([[2, 2]]), halves, (4, 2), check_invariants=True)
        adagrad.step(0.1, rows=8)
    sums = [0.5 + (9 + 1) / 2, 0.5 + (9 + 1) / 2 + 4 / 2]
    expected = -0.1 * (first / sums[0] ** 0.5 + second / sums[1] ** 0.5)
    torch.testing.assert_close(table[2:3].detach(), expected)
    assert torch.count_nonzero(table) == 2, "rows without a gradient stay"


def test_a_dense_gradient_moves_the_same_rows() -> None:
    gradient = torch.tensor([[0.0, 0.0], [1.0, -2.0], [0.0, 0.0]])
    tables = [nn.Parameter(torch.ones(3, 2)) for _ in range(2)]
    tables[0].grad, tables[1].grad = gradient, gradient.to_sparse(1)
    RowWiseAdagrad(tables, damping=0.01).step(0.1, rows=1)
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0][0], torch.ones(2))


def test_a_module_of_nothing_but_tables_learns() -> None:
    torch.manual_seed(0)
    module = Tables()
    optimizers = Optimizers(module, nn.Module(), config(**ADAGRAD), steps=60)
    rows, wanted = torch.arange(5), torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    losses = []
    with optimizers.at_work():
        assert module.one.sparse
        for _ in range(60):
            loss = nn.functional.binary_cross_entropy_with_logits(module(rows), wanted)
            optimizers.step(loss, len(rows))
            losses.append(float(loss.detach()))
    assert not module.one.sparse
    assert losses[-1] < 0.2 * losses[0]


def test_gradients_are_dense_again_after_a_failure() -> None:
    module = Tables()
    with (
        pytest.raises(RuntimeError, match="stop"),
        Optimizers(module, nn.Module(), config(**ADAGRAD), steps=1).at_work(),
    ):
        raise RuntimeError("stop")
    assert not module.one.sparse
    assert not module.other.sparse


@pytest.mark.parametrize("tables", ["adamw", "rowwise_adagrad"])
def test_the_last_of_falling_steps_is_the_smallest(tables: str) -> None:
    """Gradients of equal size: with steps of full size each of them moves a weight as far."""
    module = nn.Sequential(nn.Linear(1, 1, bias=False))
    chosen = config(schedule="linear", learning_rate=0.1, tables=tables)
    optimizers = Optimizers(module, nn.Module(), chosen, steps=4)
    places = []
    for _ in range(4):
        places.append(float(module[0].weight.detach()))
        optimizers.step(module(torch.ones(1, 1)).mean(), 1)
    places.append(float(module[0].weight.detach()))
    np.testing.assert_allclose(-np.diff(places), [0.1, 0.075, 0.05, 0.025], rtol=1e-3)


def test_it_learns_the_clicks_and_the_same_for_the_same_seed() -> None:
    def trained() -> tuple[float, dict[str, Tensor]]:
        torch.manual_seed(0)
        module = build("two_tower", {"embedding_dimension": 8, "hidden": [16], "out": 8}, clicks().encoder)
        settings = {"epochs": 4, "batch_size": 128, "learning_rate": 0.01, "schedule": "linear"}
        chosen = TrainingConfig.model_validate(settings | ADAGRAD)
        return max(fit(module, click_lesson(), chosen, silent).validation_auc), module.state_dict()

    (auc, weights), (_, again) = trained(), trained()
    assert auc > 0.75
    assert all(torch.equal(weights[name], again[name]) for name in weights)
