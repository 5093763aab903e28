"""Coded tables and the demo's variants against their bars: which figures decide, and what the report says."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from app.compression.recipe import read_steps
from app.model_card import ModelCard
from loadtest.compression.demo import fastest, judged
from loadtest.compression.demo_report import demo_variants_table
from loadtest.compression.home import table_bytes
from loadtest.compression.tables import RECIPES, with_recipes
from loadtest.compression.tables import judged as judged_tables
from loadtest.compression.tables_report import tables_table

from tests.small_model import NAME, SmallModel
from tests.source_code import ROOT

CARD = (ROOT / "models" / "movielens" / "model.toml").read_text()


def variant(smaller: float, speedup: float, kept: float = 1.0, outcome: str = "passed") -> dict[str, Any]:
    interval = {"value": kept, "low": kept, "high": kept}
    return {
        "bytes": 1000,
        "smaller": smaller,
        "auc": interval,
        "auc_kept": interval,
        "ndcg_at_10": interval,
        "ndcg_kept": interval,
        "distinct_score_ratio": 1.0,
        "batch_difference": 0.0,
        "latency": [
            {"candidates": 1, "p50_ms": 1.0, "speedup": 99.0},
            {"candidates": 1000, "p50_ms": 1.0, "speedup": speedup},
        ],
        "outcome": outcome,
    }


def test_the_fastest_variant_that_passed_is_judged() -> None:
    variants = {
        "baseline": variant(1, 1, outcome="baseline"),
        "wrong": variant(90, 90, outcome="rejected"),
        "slow": variant(80, 10),
        "best": variant(60, 60),
    }
    assert fastest(variants) == "best"
    assert [bar["met"] for bar in judged(variants["best"])] == [True] * 4
    assert [bar["met"] for bar in judged(variant(20, 19.9, kept=0.998))] == [True, False, False, True]
    assert fastest({"wrong": variants["wrong"]}) is None
    assert not any(bar["met"] for bar in judged(None))
    text = demo_variants_table({"model": "m", "best": "best", "aim": 50, "variants": variants, "bars": []})
    assert "The fastest that passed is `best`. The aim of 50x and 50x is reached." in text
    assert "| `wrong` | 1,000 | 90.0x |" in text


def test_tables_are_judged_by_their_share_and_by_the_change_either_way() -> None:
    def coded(share: float, change: float) -> dict[str, Any]:
        value = {"value": 0.8, "low": 0.8, "high": 0.8}
        return {
            "table_bytes": 10,
            "share": share,
            "auc": value,
            "auc_change": change,
            "auc_kept": value,
            "largest_score_difference": 0.1,
        }

    good = {"int4": coded(0.133, -0.0004), "int8": coded(0.27, 0.00009)}
    assert [bar["met"] for bar in judged_tables("m", good)] == [True, True, True]
    bad = {"int4": coded(0.1406, 0.0006), "int8": coded(0.27, -0.0002)}
    assert [bar["met"] for bar in judged_tables("m", bad)] == [False, False, False]
    assert "| `m` | `int4` | 10 | 13.30% | 0.80000 | -0.00040 |" in tables_table({"models": {"m": good}})


def test_the_demo_takes_the_recipes_of_the_tables() -> None:
    card = ModelCard.model_validate(tomllib.loads(with_recipes(CARD, RECIPES)))
    assert [one.name for one in card.recipes] == [one["name"] for one in tomllib.loads(RECIPES)["recipes"]]
    for recipe in card.recipes:
        assert len(read_steps(recipe, card)) == 1, "tables alone"


def test_all_tables_together_are_as_large_as_each(small_model: SmallModel) -> None:
    (graph,) = (small_model.store_folder / NAME / "baseline").glob("*/model.onnx")
    features = ("user_id", "segment", "device", "item_id", "category")
    each = [table_bytes(Path(graph), one) for one in features]
    assert min(each) > 0
    assert table_bytes(graph) == sum(each)


@pytest.mark.parametrize("missing", ["\n[profile]\nsamples = 30\n"])
def test_a_card_that_is_timed_in_its_own_way_is_not_taken(missing: str) -> None:
    with pytest.raises(AssertionError, match="timed as any model is"):
        with_recipes(CARD.replace("\n[[recipes]]", f"{missing}\n[[recipes]]", 1), RECIPES)
