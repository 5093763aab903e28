"""What compression keeps of a model with large tables and a long tail: bytes, and the share of the baseline's AUC.

    python -m loadtest.compression.long_tail --items 1100000 --users 200000 --interactions 40000000 --folder /tmp/long

It writes a model card over the synthetic click model, trains it and makes every recipe through the command line alone,
prints one line for each variant, and writes a result file. No recipe trains anything again. The best AUC that any
ranker could reach stands beside the baseline's. What was chosen (optimizer, step sizes, width of the towers) was chosen
by validation rows of a smaller catalog, and the figures are those of test rows.
"""

import re
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from loadtest.bars import Bar
from loadtest.compression.home import Home, table_bytes
from loadtest.compression.long_tail_report import long_tail_table
from loadtest.results import write

NAME = "long-tail"
LARGE_TABLE = "item_id"
AUC_KEPT = 0.997
# Of all variants that keep enough of the AUC, by the lower bound of its interval.
TABLE = Bar(f"the {LARGE_TABLE} table, {AUC_KEPT:.1%} of AUC kept: smaller", 30, "x", at_least=True)
ARTIFACT = Bar(f"the whole artifact, {AUC_KEPT:.1%} of AUC kept: smaller", 50, "x", at_least=True)
CARD = """
name = "long-tail"
title = "A long tail of users and items"

[source]
kind = "architecture"
architecture = "{architecture}"
config = {{ embedding_dimension = {dimension}, hidden = [64] }}

[schema]
features = [
    {{ name = "user_id", side = "user", kind = "categorical" }},
    {{ name = "segment", side = "user", kind = "categorical" }},
    {{ name = "device", side = "context", kind = "categorical" }},
    {{ name = "item_id", side = "item", kind = "categorical" }},
    {{ name = "brand", side = "item", kind = "categorical" }},
    {{ name = "category", side = "item", kind = "categorical" }},
    {{ name = "price", side = "item", kind = "number" }},
]

[data]
source = "synthetic"
label = {{ column = "clicked" }}
split = {{ kind = "random", validation = {held_out}, test = {held_out} }}

[data.config]
users = {users}
items = {items}
interactions = {interactions}
zipf = {zipf}
user_zipf = {user_zipf}
brands = {brands}
brand_share = {brand_share}
categories = 50

[training]
epochs = {epochs}
batch_size = {batch_size}
learning_rate = {learning_rate}
schedule = "linear"
tables = "rowwise_adagrad"
table_learning_rate = {table_learning_rate}

[budget]
auc = {auc_kept}

[profile]
candidates = [1, 1000]
samples = 60
"""
RECIPES = """
[[recipes]]
name = "pq-items"
description = "One byte for every 8 numbers of the table of the items alone."
steps = [{ technique = "product_quantize_tables", subvector = 8, min_rows = LARGE_ROWS }]

[[recipes]]
name = "pq"
description = "One byte for every 8 numbers of each table."
steps = [{ technique = "product_quantize_tables", subvector = 8 }]

[[recipes]]
name = "pq-small"
description = "One byte for every 16 numbers of each table."
steps = [{ technique = "product_quantize_tables", subvector = 16 }]

[[recipes]]
name = "rank-pq-fine"
description = "Tables of 8 numbers a row, and one byte for each of them."
steps = [
    { technique = "factor_tables", rank = 8 },
    { technique = "product_quantize_tables", subvector = 1 },
]

[[recipes]]
name = "rank-pq-mixed"
description = "Tables of 8 numbers a row, and one byte for every 2 of an item's and for each of a user's."
steps = [
    { technique = "factor_tables", rank = 8 },
    { technique = "product_quantize_tables", subvector = 2, min_rows = LARGE_ROWS },
    { technique = "product_quantize_tables", subvector = 1 },
]

[[recipes]]
name = "rank-pq"
description = "Tables of 8 numbers a row, and one byte for every 2 of them."
steps = [
    { technique = "factor_tables", rank = 8 },
    { technique = "product_quantize_tables", subvector = 2 },
]

[[recipes]]
name = "rank-pq-small"
description = "Tables of 8 numbers a row, and one byte for every 4 of them."
steps = [
    { technique = "factor_tables", rank = 8 },
    { technique = "product_quantize_tables", subvector = 4 },
]

[[recipes]]
name = "rare-rows"
description = "Ids with fewer than 10 training rows share one vector."
steps = [{ technique = "drop_rows", min_count = 10, shared = "mean" }]
"""
_FACT = re.compile(r"^(bayes_optimal_auc|training_seconds): ([\d.]+)$", re.MULTILINE)


@dataclass(frozen=True)
class LongTail:
    """The catalog, its traffic, and how the baseline is trained."""

    items: int = 20_000
    users: int = 4_000
    interactions: int = 800_000
    brands: int = 100
    brand_share: float = 0.8
    zipf: float = 1.0
    user_zipf: float = 0.5
    architecture: str = "two_tower"
    dimension: int = 64
    epochs: int = 2
    batch_size: int = 4096
    learning_rate: float = 0.001
    table_learning_rate: float = 0.3
    recipes: str = RECIPES
    """TOML with [[recipes]]; LARGE_ROWS in it is half as many as there are items, which no other table has."""

    @property
    def card(self) -> str:
        """Its model card, without recipes. At most 5% of the rows validate, and as many test: 200,000 are enough."""
        held_out = min(0.05, 200_000 / self.interactions)
        return CARD.format(**asdict(self), held_out=held_out, auc_kept=AUC_KEPT)


def measure(plan: LongTail, folder: Path) -> dict[str, Any]:
    """Train, unless the folder holds what the same card made; make every variant; gives what each keeps.

    Raises SystemExit with what the command line said when it fails.
    """
    home = Home.below(folder)
    model = home.models / NAME
    model.mkdir(parents=True, exist_ok=True)
    facts = _train(home, model, plan.card)
    trained = time.monotonic()
    recipes = plan.recipes.replace("LARGE_ROWS", str(plan.items // 2))
    (model / "model.toml").write_text(plan.card + recipes)
    home.slimrank("compress", NAME)
    compressed = time.monotonic()
    reports = home.reports(NAME)
    # A folder that is used again may hold variants of other recipes.
    asked = ["baseline", *(one["name"] for one in tomllib.loads(recipes).get("recipes", []))]
    variants = {name: _figures(home, name, reports[name]) for name in asked}
    return {
        "model": f"{plan.items:,} items, {plan.users:,} users",
        "plan": asdict(plan),
        "bayes_optimal_auc": facts["bayes_optimal_auc"],
        "seconds": {"train": facts["training_seconds"], "compress": round(compressed - trained, 1)},
        "variants": variants,
        "bars": _judged(variants),
    }


def _train(home: Home, model: Path, card: str) -> dict[str, float]:
    """Train the card, unless it has been; gives the Bayes-optimal AUC of its rows, and how long it took."""
    trained = model / "trained.md"  # documents are no part of what a variant is made from
    before, _, said = trained.read_text().partition("\n---\n") if trained.exists() else ("", "", "")
    if before != card:
        (model / "model.toml").write_text(card)
        started = time.monotonic()
        said = home.slimrank("train", NAME)
        said = f"training_seconds: {time.monotonic() - started:.1f}\n{said}"
        trained.write_text(f"{card}\n---\n{said}")
    return {name: float(value) for name, value in _FACT.findall(said)}


def _figures(home: Home, variant: str, found: dict[str, Any]) -> dict[str, Any]:
    report, manifest = found["report"], found["manifest"]
    quality = report["quality"]
    return {
        "bytes": report["size"]["artifact_bytes"],
        "smaller": report["size"]["compression_ratio"],
        "table_bytes": table_bytes(home.graph(NAME, variant, manifest["version"]), LARGE_TABLE),
        "auc": quality["auc"],
        "auc_kept": quality["auc_ratio"],
        "rows": quality["rows"],
        "slices": report["slices"],
        "latency": report["latency"],
        "seconds": report["seconds"],
        "outcome": manifest["verdict"]["outcome"],
        "reason": manifest["verdict"]["reason"],
    }


def _judged(variants: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    kept = [one for one in variants.values() if one["auc_kept"]["low"] >= AUC_KEPT]
    whole_table = variants["baseline"]["table_bytes"]
    return [
        TABLE.judged(max(whole_table / one["table_bytes"] for one in kept)),
        ARTIFACT.judged(max(one["smaller"] for one in kept)),
    ]


def main(  # noqa: PLR0913 - each is a flag
    items: Annotated[int, typer.Option(min=2, help="Items of the click model.")] = LongTail.items,
    users: Annotated[int, typer.Option(min=2, help="Users of the click model.")] = LongTail.users,
    interactions: Annotated[int, typer.Option(min=10, help="Rows.")] = LongTail.interactions,
    *,
    brands: Annotated[int, typer.Option(min=1, help="Brands of the items.")] = LongTail.brands,
    brand_share: Annotated[float, typer.Option(help="What a brand decides.")] = LongTail.brand_share,
    zipf: Annotated[float, typer.Option(help="Exponent of the items' traffic.")] = LongTail.zipf,
    user_zipf: Annotated[float, typer.Option(help="Exponent of the users'.")] = LongTail.user_zipf,
    architecture: Annotated[str, typer.Option(help="Of the baseline.")] = LongTail.architecture,
    dimension: Annotated[int, typer.Option(min=1, help="Width of every table.")] = LongTail.dimension,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the rows.")] = LongTail.epochs,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of one step.")] = LongTail.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Step size of AdamW.")] = LongTail.learning_rate,
    table_learning_rate: Annotated[
        float, typer.Option(help="Step size of the tables.")
    ] = LongTail.table_learning_rate,
    recipes: Annotated[
        Path | None, typer.Option(help="TOML with [[recipes]] instead of the own ones.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Kept; what is trained there is used again.")] = None,
    result: Annotated[bool, typer.Option(help="Write a result file.")] = True,
) -> None:
    """Train a model with a long tail, make its variants, and print what each keeps."""
    plan = LongTail(
        *(items, users, interactions, brands, brand_share, zipf, user_zipf, architecture, dimension, epochs),
        *(batch_size, learning_rate, table_learning_rate, recipes.read_text() if recipes else RECIPES),
    )
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="long-tail-") as temporary:
        found = measure(plan, (folder or Path(temporary)).absolute())
    if result:
        console.print(f"wrote {write(NAME, found)}", markup=False)
    console.print(long_tail_table(found), markup=False)


if __name__ == "__main__":
    typer.run(main)
