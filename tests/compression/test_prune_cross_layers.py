"""Shallower cross networks: which layers go, and that the others go on as they were."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from app.compression.recipe import read_steps
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed, ConfigurationError
from app.model_card import Recipe, read_card
from app.training.architecture import build
from app.training.cross_network import CrossNetwork
from app.training.fit import predict
from app.training.layers import SplitLinear
from torch import nn

from tests.compression.own_modules import Plain
from tests.small_model import NAME, SmallModel
from tests.training.inputs import with_large_weights

PRUNE = techniques()["prune_cross_layers"]
IMPORTANCES = ("taylor", "activation", "magnitude")


def network(module: nn.Module) -> CrossNetwork:
    (found,) = (one for one in module.modules() if isinstance(one, CrossNetwork))
    return found


def with_idle_layers(workshop: Workshop, idle: list[int], **config: Any) -> nn.Module:
    """A DCN-v2 whose given cross layers add nothing."""
    whole = {"embedding_dimension": 4, "hidden": [16], "cross_layers": 3, **config}
    module = with_large_weights(build("dcn_v2", whole, workshop.encoder))
    with torch.no_grad():
        for place in idle:
            for one in network(module).layers[place].parameters():
                one.zero_()
    return module


def prune(module: nn.Module, workshop: Workshop, **settings: Any) -> nn.Module:
    config = PRUNE.configure({"epochs": 1, "learning_rate": 1e-12, **settings}, "a test")
    made: nn.Module = PRUNE.apply(module, config, replace(workshop, teacher=module))
    return made


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("idle", [0, 1, 2])
@pytest.mark.parametrize("config", [{}, {"cross_rank": 2}, {"structure": "stacked"}], ids=str)
def test_a_layer_that_adds_nothing_goes_and_no_score_changes(
    workshop: Workshop, importance: str, idle: int, config: dict[str, Any]
) -> None:
    module = with_idle_layers(workshop, [idle], **config)
    made = prune(module, workshop, importance=importance)
    rows = workshop.rows("a test").take(np.arange(200))
    np.testing.assert_allclose(predict(made, rows), predict(module, rows), rtol=1e-4, atol=1e-5)
    assert len(network(made).layers) == 2
    assert isinstance(network(made).first, SplitLinear) == ("cross_rank" not in config)
    assert len(network(module).layers) == 3


def test_several_layers_go_at_once(workshop: Workshop) -> None:
    module = with_idle_layers(workshop, [0, 2])
    made = prune(module, workshop, drop=2)
    assert len(network(made).layers) == 1
    rows = workshop.rows("a test").take(np.arange(200))
    np.testing.assert_allclose(predict(made, rows), predict(module, rows), rtol=1e-4, atol=1e-5)


def test_one_layer_always_stays(workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match=r"more layers than that; layers of .*: 3$"):
        prune(with_idle_layers(workshop, []), workshop, drop=3)


def test_a_module_without_a_cross_network_is_refused(workshop: Workshop) -> None:
    module = copy.deepcopy(Plain(workshop.encoder))
    with pytest.raises(CompressionFailed, match="layers of the module's cross networks: none"):
        prune(module, workshop)


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ([], "drop: dcn_v2 has 2 cross layers here, and at least one must stay"),
        (
            [{"technique": "distill", "architecture": "two_tower"}],
            "drop: two_tower has 0 cross layers here, and at least one must stay",
        ),
    ],
)
def test_a_network_without_as_many_layers_is_refused_when_the_recipe_is_read(
    small_model: SmallModel, before: list[dict[str, Any]], why: str
) -> None:
    card = read_card(small_model.models / NAME)
    recipe = Recipe.model_validate(
        {"name": "shallow", "steps": [*before, {"technique": "prune_cross_layers", "drop": 2}]}
    )
    with pytest.raises(ConfigurationError) as refused:
        read_steps(recipe, card)
    step = f"recipe 'shallow', step {len(before) + 1} (prune_cross_layers): "
    assert refused.value.message == step + why


def test_what_a_student_has_counts_and_not_what_its_teacher_has(small_model: SmallModel) -> None:
    card = read_card(small_model.models / NAME)
    deep = {"technique": "distill", "architecture": "dcn_v2", "config": {"cross_layers": 4}}
    recipe = Recipe.model_validate(
        {"name": "deep", "steps": [deep, {"technique": "prune_cross_layers", "drop": 3}]}
    )
    assert len(read_steps(recipe, card)) == 2
