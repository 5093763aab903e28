"""What small codes of embedding tables keep, without training anything again: `python -m loadtest.compression.tables`.

Two models: the demo, and a catalog with a long tail of ids, whose tables are most of it. Every table of each is coded
by the command line alone, and nothing else of the graph changes. The catalog is trained first, which takes a minute.
"""

import shutil
import tempfile
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from loadtest.bars import Bar
from loadtest.compression import long_tail
from loadtest.compression.home import Home, table_bytes
from loadtest.compression.tables_report import tables_table
from loadtest.prepare import ROOT
from loadtest.results import write

NAME = "tables"
DEMO = "movielens"
RECIPES = """
[[recipes]]
name = "int8"
steps = [{ technique = "quantize_tables", bits = 8, min_rows = 1 }]

[[recipes]]
name = "int4"
steps = [{ technique = "quantize_tables", bits = 4, symmetric = true, min_rows = 1 }]

[[recipes]]
name = "int4-with-low"
steps = [{ technique = "quantize_tables", bits = 4, min_rows = 1 }]

[[recipes]]
name = "int4-blocks"
steps = [{ technique = "quantize_tables", bits = 4, granularity = "per_block", min_rows = 1 }]

[[recipes]]
name = "int2"
steps = [{ technique = "quantize_tables", bits = 2, min_rows = 1 }]
"""


def measure(folder: Path, cache: Path, models: Path, plan: long_tail.LongTail) -> dict[str, Any]:
    """Code the tables of both models. Raises SystemExit with what the command line said when it fails."""
    demo = Home.below(folder / "demo", cache)
    shutil.copytree(models / DEMO, demo.models / DEMO, dirs_exist_ok=True)
    card = (models / DEMO / "model.toml").read_text()
    (demo.models / DEMO / "model.toml").write_text(with_recipes(card, RECIPES))
    demo.slimrank("compress", DEMO)
    long_tail.measure(plan, folder / "tail")
    found = {
        DEMO: _variants(demo, DEMO),
        long_tail.NAME: _variants(Home.below(folder / "tail"), long_tail.NAME),
    }
    return {
        "model": f"{DEMO}, {long_tail.NAME}",
        "plan": asdict(plan),
        "models": found,
        "bars": [bar for model, variants in found.items() for bar in judged(model, variants)],
    }


def with_recipes(card: str, recipes: str) -> str:
    """A model card with other recipes, which stand last in it, and few timings: bytes and quality are asked for."""
    before, _, _ = card.partition("\n[[recipes]]")
    assert "[profile]" not in before, "the demo is timed as any model is"
    return f"{before}\n[profile]\ncandidates = [1, 1000]\nsamples = 60\n{recipes}"


def _variants(home: Home, model: str) -> dict[str, dict[str, Any]]:
    found = home.reports(model)
    whole = _table_bytes(home, model, found, "baseline")
    auc = found["baseline"]["report"]["quality"]["auc"]["value"]
    asked = ["baseline", *(one["name"] for one in tomllib.loads(RECIPES)["recipes"])]
    return {
        name: _figures(found[name]["report"], _table_bytes(home, model, found, name), whole, auc)
        for name in asked
    }


def _table_bytes(home: Home, model: str, found: dict[str, Any], variant: str) -> int:
    return table_bytes(home.graph(model, variant, found[variant]["manifest"]["version"]))


def _figures(report: dict[str, Any], size: int, whole: int, baseline_auc: float) -> dict[str, Any]:
    quality = report["quality"]
    return {
        "table_bytes": size,
        "share": size / whole,
        "auc": quality["auc"],
        "auc_change": quality["auc"]["value"] - baseline_auc,
        "auc_kept": quality["auc_ratio"],
        "largest_score_difference": report["agreement"]["largest_score_difference"],
        "rows": quality["rows"],
    }


def judged(model: str, variants: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars of one model."""
    int4, int8 = variants["int4"], variants["int8"]
    return [
        Bar(f"{model}, tables in int4: of their bytes", 0.14, "%").judged(int4["share"]),
        Bar(f"{model}, tables in int4: change of AUC", 0.0005).judged(abs(int4["auc_change"])),
        Bar(f"{model}, tables in int8: change of AUC", 0.0001).judged(abs(int8["auc_change"])),
    ]


def main(
    folder: Annotated[Path | None, typer.Option(help="Kept; what is there is used again.")] = None,
    cache: Annotated[Path, typer.Option(help="Where data sets are fetched to.")] = ROOT / ".cache",
    models: Annotated[Path, typer.Option(help="The repository that has the demo.")] = ROOT / "models",
    *,
    result: Annotated[bool, typer.Option(help="Write a result file.")] = True,
) -> None:
    """Code the tables of two models, and print what each keeps."""
    console = Console(highlight=False, soft_wrap=True)
    plan = long_tail.LongTail(recipes=RECIPES)
    with tempfile.TemporaryDirectory(prefix="tables-") as temporary:
        found = measure((folder or Path(temporary)).absolute(), cache.absolute(), models, plan)
    if result:
        console.print(f"wrote {write(NAME, found)}", markup=False)
    console.print(tables_table(found), markup=False)


if __name__ == "__main__":
    typer.run(main)
