"""A recipe is refused as a whole before any work begins, and the message says where it is wrong."""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from app.compression.recipe import read_steps
from app.compression.technique import techniques, without_tables
from app.compression.techniques.distill import DistillConfig
from app.compression.techniques.quantize_static import QuantizeStaticConfig
from app.errors import ConfigurationError
from app.model_card import ModelCard, Recipe
from app.training.architecture import architectures

from tests.small_model import CARD

PRUNE = {"technique": "prune_neurons"}
DISTILL = {"technique": "distill", "architecture": "dlrm"}
DYNAMIC = {"technique": "quantize_dynamic"}
STATIC = {"technique": "quantize_static"}


def a_card(**changes: Any) -> ModelCard:
    return ModelCard.model_validate(tomllib.loads(CARD) | changes)


def a_recipe(*steps: dict[str, Any]) -> Recipe:
    return Recipe(name="mine", steps=steps)


READY = {"source": {"kind": "onnx"}}
WITHOUT_DATA = {"data": None}
WRONG: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str]] = {
    "an unknown technique": (
        {},
        [PRUNE, {"technique": "shrink"}],
        f"recipe 'mine', step 2: there is no technique 'shrink'; there are: {', '.join(techniques())}",
    ),
    "an unknown setting": (
        {},
        [DYNAMIC | {"bits": 4}],
        "recipe 'mine', step 1 (quantize_dynamic): bits: Extra inputs are not permitted",
    ),
    "an impossible setting": (
        {},
        [PRUNE | {"keep": 1.5}, STATIC],
        "recipe 'mine', step 1 (prune_neurons): keep: Input should be less than 1",
    ),
    "two impossible settings": (
        {},
        [STATIC | {"rows": -1, "per_channel": "perhaps"}],
        (
            "recipe 'mine', step 1 (quantize_static): rows: Input should be greater than or equal to 1; "
            "per_channel: Input should be a valid boolean, unable to interpret input"
        ),
    ),
    "a missing setting": (
        {},
        [{"technique": "distill"}],
        "recipe 'mine', step 1 (distill): architecture: Field required",
    ),
    "a module step after a graph step": (
        {},
        [PRUNE, DYNAMIC, DISTILL],
        "recipe 'mine', step 3 (distill): it works on the module and must stand before every graph step",
    ),
    "a module step on a ready graph": (
        READY,
        [PRUNE],
        "recipe 'mine', step 1 (prune_neurons): it works on a module, and the model is a ready ONNX graph",
    ),
    "a step that needs rows where there are none": (
        WITHOUT_DATA,
        [DYNAMIC, STATIC],
        "recipe 'mine', step 2 (quantize_static): it needs rows, and the model's card has no [data]",
    ),
    "a module step that needs rows where there are none": (
        WITHOUT_DATA,
        [PRUNE],
        "recipe 'mine', step 1 (prune_neurons): it needs rows, and the model's card has no [data]",
    ),
    "a student of no known architecture": (
        {},
        [PRUNE, DISTILL | {"architecture": "giant"}],
        (
            "recipe 'mine', step 2 (distill): architecture: there is no architecture 'giant'; "
            f"there are: {', '.join(architectures())}"
        ),
    ),
    "a student that cannot be built": (
        {},
        [DISTILL | {"architecture": "dcn_v2", "config": {"dropout": 2, "depth": 3}}],
        (
            "recipe 'mine', step 1 (distill): config: dropout: Input should be less than 1; "
            "depth: Extra inputs are not permitted"
        ),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_is_refused_by_recipe_step_and_field(case: str) -> None:
    changes, steps, message = WRONG[case]
    with pytest.raises(ConfigurationError) as refused:
        read_steps(a_recipe(*steps), a_card(**changes))
    assert refused.value.message == message


NUMBERS_ALONE = {
    "schema": {
        "features": [
            {"name": "age", "side": "user", "kind": "number"},
            {"name": "price", "side": "item", "kind": "number"},
        ]
    }
}


def test_a_step_that_has_nothing_to_act_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    of_tables = replace(techniques()["quantize_dynamic"], name="of_tables", misfit=without_tables)
    monkeypatch.setattr("app.compression.recipe.techniques", lambda: {**techniques(), "of_tables": of_tables})
    recipe = a_recipe(PRUNE, {"technique": "of_tables"})
    assert len(read_steps(recipe, a_card())) == 2
    with pytest.raises(ConfigurationError) as refused:
        read_steps(recipe, a_card(**NUMBERS_ALONE))
    assert refused.value.message == (
        "recipe 'mine', step 2 (of_tables): [schema]: it acts on embedding tables, "
        "and no feature is categorical or multi"
    )


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({}, [DISTILL, PRUNE, STATIC, DYNAMIC]), (READY, [STATIC, DYNAMIC]), (WITHOUT_DATA, [DYNAMIC])],
)
def test_steps_that_fit_are_read_in_order(changes: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    read = read_steps(a_recipe(*steps), a_card(**changes))
    assert [step.technique.name for step in read] == [step["technique"] for step in steps]


def test_settings_that_are_not_given_have_their_defaults() -> None:
    given, full = read_steps(a_recipe(STATIC | {"rows": 7}, STATIC), a_card())
    assert given.config == QuantizeStaticConfig(rows=7)
    assert full.to_json() == {
        "technique": "quantize_static",
        "keep_float": "last",
        "measure": "auc",
        "budget": 0.0005,
        "candidates": 100,
        "rows": 2048,
        "method": "minmax",
        "per_channel": True,
        "correct_biases": False,
    }


@pytest.mark.parametrize("step", [STATIC | {"rows": 7}, DISTILL | {"config": {"hidden": [8]}}, PRUNE])
def test_a_step_read_from_its_own_json_is_the_same(step: dict[str, Any]) -> None:
    (read,) = read_steps(a_recipe(step), a_card())
    assert read_steps(a_recipe(read.to_json()), a_card()) == (read,)


def test_the_settings_of_two_steps_are_not_shared() -> None:
    make: Callable[[], DistillConfig] = lambda: DistillConfig(architecture="dlrm")  # noqa: E731
    make().config["hidden"] = [1]
    assert make().config == {}
