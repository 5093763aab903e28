"""Unstructured pruning: which weights become zero, and that they stay so while the rest is tuned."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from app.compression.masks import keep_largest, keep_of_groups
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed, ConfigurationError
from torch import Tensor, nn

from tests.compression.own_modules import Plain

PRUNE = techniques()["prune_weights"]


def prune(module: nn.Module, workshop: Workshop, **settings: Any) -> Plain:
    config = PRUNE.configure({"epochs": 1, **settings}, "a test")
    made = PRUNE.apply(module, config, replace(workshop, teacher=module))
    assert isinstance(made, Plain)
    return made


def first(module: Plain) -> Tensor:
    layer = module.network[0]
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach()


def zeros(values: Tensor) -> float:
    return float((values == 0).float().mean())


@pytest.mark.parametrize("importance", ["magnitude", "gradient"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_the_share_of_zeros_is_as_asked_and_the_rest_is_tuned(
    workshop: Workshop, importance: str, rounds: int
) -> None:
    module = Plain(workshop.encoder)
    made = prune(module, workshop, importance=importance, rounds=rounds, sparsity=0.75)
    assert zeros(first(made)) == 0.75
    left = first(made) != 0
    assert not torch.equal(first(made)[left], first(module)[left])
    assert type(made.network[0]) is nn.Linear, "what held the zeros is gone"


def test_the_smallest_go_by_magnitude(workshop: Workshop) -> None:
    module = Plain(workshop.encoder)
    before = first(module).abs()
    made = prune(module, workshop, sparsity=0.5)
    gone = first(made) == 0
    assert before[gone].max() <= before[~gone].min()


def test_what_no_score_depends_on_goes_by_gradient(workshop: Workshop) -> None:
    module = Plain(workshop.encoder)
    with torch.no_grad():
        module.users.weight[:] = 0  # the largest weights, and they multiply nothing
        first(module)[:, :8] = 100.0
    made = prune(module, workshop, importance="gradient", sparsity=0.5, learning_rate=1e-12)
    assert (first(made)[:, :8] == 0).all()
    assert (first(made)[:, 8:] != 0).all()


@pytest.mark.parametrize(("pattern", "group"), [("2:4", 4), ("4:8", 8)])
def test_a_pattern_leaves_half_of_each_group(workshop: Workshop, pattern: str, group: int) -> None:
    made = prune(Plain(workshop.encoder), workshop, pattern=pattern)
    left = (first(made) != 0).reshape(-1, group).sum(dim=1)
    assert (left == group // 2).all()


def test_one_ranking_over_all_layers_takes_from_the_weakest_layer(workshop: Workshop) -> None:
    module = Plain(workshop.encoder)
    module.network = nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)
    )
    second = module.network[2]
    assert isinstance(second, nn.Linear)
    with torch.no_grad():
        second.weight *= 1e-3
    made = prune(module, workshop, scope="global", sparsity=0.5).network[2]
    assert isinstance(made, nn.Linear)
    assert zeros(made.weight) > 0.7
    assert zeros(made.weight) < 1.0


def test_tables_lose_weights_where_they_are_asked_to(workshop: Workshop) -> None:
    module = Plain(workshop.encoder)
    dense, tables, every = (prune(module, workshop, weights=which) for which in ("dense", "tables", "all"))
    assert [zeros(one.items.weight) > 0.4 for one in (dense, tables, every)] == [False, True, True]
    assert [zeros(first(one)) > 0.4 for one in (dense, tables, every)] == [True, False, True]


def test_the_layer_that_gives_the_score_is_left_alone(workshop: Workshop) -> None:
    last = prune(Plain(workshop.encoder), workshop, sparsity=0.9).network[2]
    assert isinstance(last, nn.Linear)
    assert zeros(last.weight) == 0


def test_a_module_without_dense_layers_is_refused(workshop: Workshop) -> None:
    module = Plain(workshop.encoder)
    module.network = nn.Sequential(nn.Linear(16, 1))
    with pytest.raises(CompressionFailed, match="has no weights to prune"):
        prune(module, workshop)


@pytest.mark.parametrize("wrong", [{"sparsity": 0.9}, {"rounds": 2}, {"weights": "all"}])
def test_a_pattern_goes_with_half_of_dense_weights_alone(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="pattern 2:4 leaves half of dense weights at once"):
        PRUNE.configure({"pattern": "2:4", **wrong}, "a recipe")


def test_a_layer_keeps_its_least_share_whatever_the_ranking_says() -> None:
    weak, strong = torch.full((10, 10), 0.1), torch.ones(10, 10)
    masks = keep_largest([weak, strong], keep=0.5, least=0.05)
    assert [int(one.sum()) for one in masks] == [5, 95]


def test_inputs_that_fill_no_group_all_stay() -> None:
    scores = torch.tensor([[1.0, 4.0, 3.0, 2.0, 0.1, 0.2]])
    assert keep_of_groups(scores, 2, 4).tolist() == [[False, True, True, False, True, True]]
