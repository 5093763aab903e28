"""The model card: what it takes, and the words in which it refuses the rest."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from app.errors import ConfigurationError, UnknownModel, UnknownRecipe
from app.model_card import (
    AUTO,
    BASELINE,
    ArchitectureSource,
    Budget,
    EntryPointSource,
    ModelCard,
    OnnxSource,
    Profile,
    Recipe,
    explain,
    model_names,
    read_card,
)
from app.policy import Policy
from pydantic import ValidationError

SMALLEST = """
name = "tiny"
source = { kind = "onnx" }
schema.features = [{ name = "item_id", side = "item", kind = "categorical" }]
"""
LARGEST = """
name = "tiny"
title = "A tiny ranker"
description = "For tests."

[source]
kind = "architecture"
architecture = "deepfm"
config = { width = 8 }
checkpoint = "weights/last.safetensors"
encoder = "weights/encoder.json"

[[schema.features]]
name = "item_id"
side = "item"
kind = "categorical"

[data]
source = "table"
config = { interactions = "clicks.csv" }
label = { column = "rating", at_least = 4 }
split = { kind = "temporal", validation = 0.2, test = 0.2, seed = 7 }
display = ["title"]

[training]
epochs = 3

[budget]
auc = 0.99
ndcg_at_10 = 0.98
batch_difference = 0.0
distinct_score_ratio = 0.5

[profile]
candidates = [1, 100]
samples = 30

[policy]
kind = "pinned"
variant = "int8"
canary = { variant = "pruned", percent = 2.5 }
shadow = { variant = "baseline", percent = 1 }

[[recipes]]
name = "int8"
description = "Smaller."
seed = 3
steps = [{ technique = "quantize_dynamic", bits = 8 }]

[[recipes]]
name = "pruned"
steps = [{ technique = "prune" }, { technique = "quantize_dynamic" }]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    return tmp_path / "tiny"


def card_of(folder: Path, text: str) -> ModelCard:
    (folder / "model.toml").write_text(text)
    return read_card(folder)


def changed(**tables: Any) -> dict[str, Any]:
    """The large card with one table, or one field of it, replaced."""
    content = tomllib.loads(LARGEST)
    for name, value in tables.items():
        merge = isinstance(value, dict) and isinstance(content[name], dict)
        content[name] = content[name] | value if merge else value
    return content


def test_the_smallest_card_has_defaults_for_the_rest(folder: Path) -> None:
    card = card_of(folder, SMALLEST)
    assert card.source == OnnxSource(kind="onnx", graph="model.onnx", encoder="encoder.json")
    assert (card.data, card.recipes, card.training) == (None, (), {})
    assert (card.budget, card.profile) == (Budget(), Profile())
    assert card.policy == Policy(kind="ladder")


def test_every_field_of_a_full_card_is_read(folder: Path) -> None:
    card = card_of(folder, LARGEST)
    assert card.source == ArchitectureSource(
        kind="architecture",
        architecture="deepfm",
        config={"width": 8},
        checkpoint="weights/last.safetensors",
        encoder="weights/encoder.json",
    )
    assert card.data is not None
    assert (card.data.label.at_least, card.data.split.kind, card.data.display) == (
        4.0,
        "temporal",
        ("title",),
    )
    assert card.training == {"epochs": 3}
    assert (card.budget.ndcg_at_10, card.profile.candidates) == (0.98, (1, 100))
    assert [one["technique"] for one in card.recipe("pruned").steps] == ["prune", "quantize_dynamic"]
    assert card.recipe("int8").seed == 3
    assert (card.policy.kind, card.policy.variant) == ("pinned", "int8")
    assert card.policy.variants() == {"int8", "pruned", "baseline"}


def test_a_card_comes_back_from_its_own_dump(folder: Path) -> None:
    card = card_of(folder, LARGEST)
    assert ModelCard.model_validate(card.model_dump(mode="json", by_alias=True)) == card


def test_an_entry_point_is_a_module_and_a_name() -> None:
    source = EntryPointSource(kind="entry_point", entry_point="package.rankers:build_it")
    assert source.checkpoint == "checkpoint.safetensors"
    for wrong in ("package.rankers", "package:", ":build", "a b:c", "os:system()", "package:a.b", "../x:y"):
        with pytest.raises(ValidationError, match="entry_point"):
            EntryPointSource(kind="entry_point", entry_point=wrong)


@pytest.mark.parametrize("name", ["graph", "encoder"])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../other/model.onnx", "a/../../b", "..", "", ".", "./", "weights/.."]
)
def test_a_path_outside_the_folder_is_refused(name: str, path: str) -> None:
    with pytest.raises(ValidationError, match="must be a path inside the model's folder"):
        OnnxSource.model_validate({"kind": "onnx", name: path})


@pytest.mark.parametrize("path", ["a.onnx", "a/b/c.onnx", "./a.onnx", "..a", "a..b"])
def test_a_path_inside_the_folder_is_taken(path: str) -> None:
    assert OnnxSource(kind="onnx", graph=path).graph == path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Tiny"}, "name: String should match pattern"),
        ({"name": "../tiny"}, "name: String should match pattern"),
        ({"name": 3}, "name: Input should be a valid string"),
        ({"source": {"kind": "pickle"}}, "source: .*'pickle'"),
        ({"source": {"architecture": 1}}, r"source\.architecture\.architecture: "),
        ({"source": {"checkpoint": "/x"}}, r"source\.architecture\.checkpoint: must be a path inside"),
        ({"source": {"graph": "x"}}, r"source\.architecture\.graph: Extra inputs are not permitted"),
        ({"schema": {"features": []}}, r"schema\.features: "),
        (
            {"schema": {"features": [{"name": "A", "side": "item", "kind": "number"}]}},
            r"schema\.features\.0\.number\.name",
        ),
        ({"data": {"source": None}}, r"data\.source: "),
        ({"data": {"label": {"at_least": "four"}}}, r"data\.label\.at_least: "),
        ({"data": {"split": {"test": 0.5}}}, r"data\.split\.test: Input should be less than 0\.5"),
        ({"data": {"split": {"validation": 0}}}, r"data\.split\.validation: Input should be greater than 0"),
        ({"data": {"split": {"kind": "user"}}}, r"data\.split\.kind: "),
        ({"data": {"split": {"seed": -1}}}, r"data\.split\.seed: "),
        ({"data": {"display": "title"}}, r"data\.display: "),
        ({"training": 3}, "training: "),
        ({"policy": {"kind": "ladder"}}, "policy: `policy.variant` goes with the kind 'pinned'"),
        ({"policy": {"canary": {"variant": "pruned", "percent": 101}}}, r"policy\.canary\.percent: "),
        ({"policy": {"canary": {"variant": "int8", "percent": 1}}}, "policy: .*which is pinned already"),
        (
            {"policy": {"shadow": {"variant": "nope", "percent": 1}}},
            "policy: no recipe makes a variant 'nope'; there are: baseline, int8, pruned",
        ),
        ({"budget": {"auc": 1.01}}, r"budget\.auc: Input should be less than or equal to 1"),
        ({"budget": {"auc": float("nan")}}, r"budget\.auc: "),
        ({"budget": {"ndcg_at_10": 0}}, r"budget\.ndcg_at_10: "),
        ({"budget": {"batch_difference": -1}}, r"budget\.batch_difference: "),
        ({"budget": {"speed": 2}}, r"budget\.speed: Extra inputs are not permitted"),
        ({"profile": {"candidates": []}}, r"profile\.candidates: "),
        ({"profile": {"candidates": [0]}}, r"profile\.candidates\.0: "),
        ({"profile": {"samples": 29}}, r"profile\.samples: "),
        ({"recipes": [{"name": "a", "steps": []}]}, r"recipes\.0\.steps: "),
        ({"recipes": [{"name": "a", "steps": [{}] * 17}]}, r"recipes\.0\.steps: "),
        ({"recipes": [{"name": "a_b", "steps": [{"technique": "x"}]}]}, r"recipes\.0\.name: "),
        ({"recipes": [{"name": "a", "steps": [{"bits": 8}]}]}, "recipe 'a', step 1: `technique` is missing"),
        (
            {"recipes": [{"name": "a", "steps": [{"technique": "x"}, {"technique": 1}]}]},
            "step 2: `technique` is missing or not text",
        ),
        (
            {"recipes": [{"name": BASELINE, "steps": [{"technique": "x"}]}]},
            "a recipe may not be called 'baseline'",
        ),
        ({"recipes": [{"name": AUTO, "steps": [{"technique": "x"}]}]}, "a recipe may not be called 'auto'"),
        ({"recipes": [{"name": "a", "seed": -1, "steps": [{"technique": "x"}]}]}, r"recipes\.0\.seed: "),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelCard.model_validate(changed(**change))
    assert re.search(words, explain(caught.value))


def test_every_wrong_field_is_named_at_once(folder: Path) -> None:
    text = LARGEST.replace("auc = 0.99", "auc = 2").replace("samples = 30", "samples = 1")
    with pytest.raises(ConfigurationError) as caught:
        card_of(folder, text)
    assert caught.value.message == (
        "tiny/model.toml: budget.auc: Input should be less than or equal to 1; "
        "profile.samples: Input should be greater than or equal to 30"
    )


def test_two_recipes_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="recipe names must be unique; repeated: int8"):
        card_of(folder, LARGEST.replace('name = "pruned"', 'name = "int8"'))


@pytest.mark.parametrize("text", ["name = ", 'name = "tiny"\nname = "tiny"', "\x00"])
def test_a_card_that_is_not_toml(folder: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"tiny/model\.toml is not TOML"):
        card_of(folder, text)


def test_a_card_that_is_not_text(folder: Path) -> None:
    (folder / "model.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigurationError, match=r"tiny/model\.toml is not TOML"):
        read_card(folder)


def test_the_name_must_be_that_of_the_folder(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="`name` is 'small' and must be 'tiny'"):
        card_of(folder, SMALLEST.replace('"tiny"', '"small"'))


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a folder")
    for name in ("nope", "empty", "file"):
        with pytest.raises(UnknownModel, match=f"there is no model '{name}'") as caught:
            read_card(tmp_path / name)
        assert caught.value.details == {"model": name}


def test_an_unknown_recipe_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(UnknownRecipe, match="model 'tiny' has no recipe 'int4'; it has: int8, pruned"):
        card_of(folder, LARGEST).recipe("int4")
    with pytest.raises(UnknownRecipe, match="it has: none"):
        card_of(folder, SMALLEST).recipe("int4")


def test_models_are_the_folders_with_a_card(tmp_path: Path) -> None:
    for name in ("b", "a", "no-card"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "model.toml").write_text("")
    (tmp_path / "model.toml").write_text("")
    assert model_names(tmp_path) == ["a", "b"]
    assert model_names(tmp_path / "none") == []


def test_a_card_cannot_be_changed(folder: Path) -> None:
    card = card_of(folder, LARGEST)
    with pytest.raises(ValidationError, match="frozen"):
        card.title = "another"
    with pytest.raises(ValidationError, match="frozen"):
        card.budget.auc = 0.5


def test_a_recipe_of_ones_own_follows_the_same_rules() -> None:
    recipe = Recipe.model_validate({"name": "mine", "steps": [{"technique": "prune", "sparsity": 0.5}]})
    assert recipe.steps == ({"technique": "prune", "sparsity": 0.5},)
    with pytest.raises(ValidationError, match="extra"):
        Recipe.model_validate({"name": "mine", "steps": [{"technique": "prune"}], "extra": 1})
