"""Structured pruning: which neurons go, how many, and modules that it has not seen before."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from app.compression.chains import hidden_layers
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Encoder
from app.errors import CompressionFailed
from app.training.fit import predict
from app.training.layers import MLP
from torch import nn

from tests.compression.own_modules import Attention, Borrowed, Plain, WithAnotherHead

PRUNE = techniques()["prune_neurons"]
IMPORTANCES = ("taylor", "activation", "magnitude")


def prune(module: nn.Module, workshop: Workshop, **settings: Any) -> nn.Module:
    config = PRUNE.configure({"epochs": 1, **settings}, "a test")
    made: nn.Module = PRUNE.apply(module, config, replace(workshop, teacher=module))
    return made


def widths(module: nn.Module) -> list[int]:
    return [layer.width for layer in hidden_layers(module)]


@pytest.mark.parametrize(
    ("hidden", "keep", "left"),
    [
        (64, 0.5, 32),
        (64, 0.25, 16),
        (64, 0.01, 16),
        (64, 0.99, 64),
        (100, 0.5, 48),
        (24, 0.9, 16),
        (8, 0.5, 8),
    ],
)
def test_widths_are_multiples_of_16_near_the_share_that_stays(
    workshop: Workshop, hidden: int, keep: float, left: int
) -> None:
    made = prune(Plain(workshop.encoder, hidden), workshop, keep=keep)
    assert widths(made) == [left]
    assert isinstance(made.network, nn.Sequential)
    assert [made.network[0].out_features, made.network[2].in_features] == [left, left]


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_neurons_that_do_nothing_go_first(workshop: Workshop, importance: str) -> None:
    module = Plain(workshop.encoder)
    idle = torch.randperm(64)[:32]
    with torch.no_grad():
        module.network[0].weight[idle] = 0
        module.network[0].bias[idle] = 0
        module.network[2].weight[:, idle] = 0
    # At this rate tuning moves nothing: what is left is the same function.
    made = prune(module, workshop, importance=importance, learning_rate=1e-12)
    assert widths(made) == [32]
    rows = workshop.rows("a test")
    inputs = {name: torch.from_numpy(values) for name, values in rows.inputs(np.arange(100)).items()}
    with torch.inference_mode():
        torch.testing.assert_close(made(inputs, torch.arange(100)), module(inputs, torch.arange(100)))


@pytest.mark.parametrize(
    ("importance", "stays"), [("taylor", "quiet"), ("activation", "quiet"), ("magnitude", "loud")]
)
def test_only_weights_or_the_training_rows_decide(workshop: Workshop, importance: str, stays: str) -> None:
    module = Plain(workshop.encoder)
    first, last = module.network[0], module.network[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        module.users.weight[:] = 0
        # Half of the neurons have large weights for users, who say nothing in any row: they never fire.
        first.weight[:32] = torch.cat([torch.full((8,), 100.0), torch.zeros(8)])
        first.bias[:32] = -1
        last.weight[:, :32] = 100
    made = prune(module, workshop, importance=importance, learning_rate=1e-12)
    ((layer),) = hidden_layers(made)
    left = layer.reader.weight.detach().abs()
    assert (left > 99).all() if stays == "loud" else (left < 1).all()


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_a_layer_that_runs_over_a_history_is_pruned(workshop: Workshop, importance: str) -> None:
    assert widths(prune(Attention(workshop.encoder), workshop, importance=importance)) == [32, 32]


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize(("runs", "left"), [(True, [32, 32]), (False, [32, 64])])
def test_a_head_that_no_score_needs_is_no_obstacle(
    workshop: Workshop, importance: str, left: list[int], *, runs: bool
) -> None:
    module = WithAnotherHead(workshop.encoder, runs=runs)
    assert widths(prune(module, workshop, importance=importance)) == left


def test_hidden_layers_that_something_else_reads_are_refused(workshop: Workshop) -> None:
    module = Borrowed(workshop.encoder)
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(CompressionFailed, match=r"something besides an nn\.Sequential uses its hidden"):
        prune(module, workshop)
    assert all(torch.equal(before[name], values) for name, values in module.state_dict().items())


def test_a_module_without_hidden_layers_is_refused(workshop: Workshop) -> None:
    module = Plain(workshop.encoder)
    module.network = nn.Sequential(nn.Linear(16, 1))
    with pytest.raises(CompressionFailed, match="has no hidden layers to narrow; it looks for MLPs"):
        prune(module, workshop)


def test_the_small_model_loses_neurons_of_its_mlp_alone(workshop: Workshop) -> None:
    made = prune(workshop.teacher, workshop)
    assert (widths(workshop.teacher), widths(made)) == ([32, 16], [16, 16])
    (mlp,) = (one for one in made.modules() if isinstance(one, MLP))
    teacher, weights = workshop.teacher.state_dict(), made.state_dict()
    smaller = {name for name in weights if weights[name].shape != teacher[name].shape}
    assert smaller
    assert smaller < {f"deep.{name}" for name in mlp.state_dict()}


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_what_contributes_least_goes(workshop: Workshop, importance: str) -> None:
    """Contributions are sorted, and the least important go: without neurons that nobody hears, no score changes."""
    module = Plain(workshop.encoder)
    last = module.network[2]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight *= 10
        last.weight[:, 8:40] = 0
    rows = workshop.rows("a test")
    made = prune(module, workshop, importance=importance, learning_rate=1e-12)
    assert widths(made) == [32]
    np.testing.assert_allclose(predict(made, rows), predict(module, rows), atol=1e-5)
    others = copy.deepcopy(module)
    ((layer),) = hidden_layers(others)
    layer.keep(torch.arange(8, 40))
    assert np.abs(predict(others, rows) - predict(module, rows)).max() > 0.1, "the others are heard"


class Deep(Plain):
    """Two hidden layers, of which the second hardly matters."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.network = nn.Sequential(
            nn.Linear(16, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 1)
        )
        last = self.network[4]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight[:, 8:] = 0


@pytest.mark.parametrize(("floor", "second"), [(0.0, 16), (0.5, 48)])
def test_one_ranking_over_all_layers_takes_from_the_least_important_one(
    workshop: Workshop, floor: float, second: int
) -> None:
    settings = {"importance": "magnitude", "keep": 0.5, "scope": "global", "floor": floor}
    found = widths(prune(Deep(workshop.encoder), workshop, **settings))
    assert found[1] == second
    assert abs(sum(found) - 96) <= 16
    assert all(width % 16 == 0 for width in found)


def test_rounds_narrow_step_by_step_and_end_where_one_round_does(workshop: Workshop) -> None:
    told: list[str] = []
    watched = replace(workshop, progress=lambda done, what: told.append(what))
    made = prune(Plain(workshop.encoder, hidden=128), watched, keep=0.25, rounds=3)
    assert widths(made) == [32]
    assert told.count("measuring neurons") == 3
