"""The long tail, by a catalog that is not long: trained and compressed by the command line, the same each time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loadtest.compression.home import table_bytes
from loadtest.compression.long_tail import NAME, LongTail, measure
from loadtest.compression.long_tail_report import long_tail_table

RECIPES = """
[[recipes]]
name = "pq"
steps = [{ technique = "product_quantize_tables", subvector = 8, clusters = 16, min_rows = LARGE_ROWS }]
"""
PLAN = LongTail(
    items=400,
    users=100,
    interactions=8_000,
    brands=5,
    dimension=16,
    epochs=3,
    batch_size=64,
    recipes=RECIPES,
)
FIGURES = ("bytes", "smaller", "table_bytes", "auc", "auc_kept", "rows", "slices")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("long-tail")


@pytest.fixture(scope="module")
def found(home: Path) -> dict[str, Any]:
    return measure(PLAN, home)


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the time it took."""
    return {name: {figure: one[figure] for figure in FIGURES} for name, one in result["variants"].items()} | {
        "bayes": result["bayes_optimal_auc"]
    }


def test_the_baseline_learns_and_the_variant_is_judged(found: dict[str, Any]) -> None:
    baseline, pq = found["variants"]["baseline"], found["variants"]["pq"]
    assert 0.6 < baseline["auc"]["value"] < found["bayes_optimal_auc"] < 1
    assert baseline["outcome"] == "baseline"
    assert pq["bytes"] < baseline["bytes"]
    assert pq["auc_kept"]["low"] < pq["auc_kept"]["value"]
    keeps = pq["auc_kept"]["low"] >= 0.997
    table, artifact = (one["value"] for one in found["bars"])
    assert table == (baseline["table_bytes"] / pq["table_bytes"] if keeps else 1)
    assert artifact == (pq["smaller"] if keeps else 1)


def test_a_table_is_all_that_took_its_place(home: Path, found: dict[str, Any]) -> None:
    versions = {one.parent.name: one for one in (home / "store" / NAME).glob("*/*/")}
    sizes = {
        name: table_bytes(one / "model.onnx", "item_id")
        for name, one in versions.items()
        if name in found["variants"]
    }
    rows, left_over = divmod(sizes["baseline"], 4 * PLAN.dimension)
    assert left_over == 0
    assert 100 < rows <= PLAN.items + 1
    codes, codebook = 2 * rows, 16 * PLAN.dimension * 2
    # The places' offsets and the width, int64, are part of it.
    assert sizes["pq"] == codes + codebook + 3 * 8


def test_what_the_folder_holds_is_used_again_and_anew_it_is_the_same(
    home: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = home / "models" / NAME / "checkpoint.safetensors"
    before = checkpoint.stat().st_mtime_ns
    assert figures(measure(PLAN, home)) == figures(found)
    assert checkpoint.stat().st_mtime_ns == before
    assert figures(measure(PLAN, tmp_path)) == figures(found)


def test_variants_of_other_recipes_are_not_shown(home: Path, found: dict[str, Any]) -> None:
    assert measure(replace(PLAN, recipes=""), home)["variants"].keys() == {"baseline"}


def test_a_step_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no_such_architecture"):
        measure(replace(PLAN, architecture="no_such_architecture"), tmp_path)


def test_the_table_tells_how_close_the_baseline_is(found: dict[str, Any]) -> None:
    table = long_tail_table(found)
    share = found["variants"]["baseline"]["auc"]["value"] / found["bayes_optimal_auc"]
    assert f"{share:.1%} of it" in table
    (line,) = (line for line in table.splitlines() if line.startswith("| `pq` |"))
    assert f"| {found['variants']['pq']['auc_kept']['low']:.2%} |" in line
