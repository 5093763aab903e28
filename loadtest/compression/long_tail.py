"""What compression keeps of a model with large tables and a long tail: bytes, and the share of the baseline's AUC.

    python -m loadtest.compression.long_tail --items 1000000 --users 200000 --interactions 8000000

It writes a model card over the synthetic click model, trains it and makes every recipe through the command line alone,
and prints one line for each variant. The best AUC that any ranker could reach stands beside the baseline's.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent.parent
NAME = "long-tail"
CARD = """
name = "long-tail"
title = "A long tail of users and items"

[source]
kind = "architecture"
architecture = "{architecture}"
config = {{ embedding_dimension = {dimension}, hidden = [64, 32] }}

[schema]
features = [
    {{ name = "user_id", side = "user", kind = "categorical" }},
    {{ name = "device", side = "context", kind = "categorical" }},
    {{ name = "item_id", side = "item", kind = "categorical" }},
    {{ name = "category", side = "item", kind = "categorical" }},
    {{ name = "price", side = "item", kind = "number" }},
]

[data]
source = "synthetic"
config = {{ users = {users}, items = {items}, interactions = {interactions}, zipf = {zipf} }}
label = {{ column = "clicked" }}
split = {{ kind = "random", validation = 0.05, test = 0.05 }}

[training]
epochs = {epochs}
batch_size = {batch_size}
learning_rate = {learning_rate}
patience = 1

[budget]
auc = 0.997

[profile]
candidates = [1, 1000]
samples = 60
"""
RECIPES = """
[[recipes]]
name = "pq"
description = "One byte for every 8 numbers of a table."
steps = [{ technique = "product_quantize_tables", subvector = 8, storage = "float16" }]

[[recipes]]
name = "pq-fine"
description = "One byte for every 4 numbers of a table."
steps = [{ technique = "product_quantize_tables", subvector = 4, storage = "float16" }]

[[recipes]]
name = "rare-rows"
description = "Ids with fewer than 3 training rows share one vector."
steps = [{ technique = "drop_rows", min_count = 3, shared = "mean" }]
"""
_BAYES = re.compile(r"bayes_optimal_auc: ([\d.]+)")


def measure(  # noqa: PLR0913 - each is a flag
    items: Annotated[int, typer.Option(min=2, help="Items of the click model.")] = 20_000,
    users: Annotated[int, typer.Option(min=2, help="Users of the click model.")] = 4_000,
    interactions: Annotated[int, typer.Option(min=10, help="Rows; 5% validate and 5% test.")] = 200_000,
    *,
    dimension: Annotated[int, typer.Option(min=1, help="Width of every table.")] = 64,
    architecture: Annotated[str, typer.Option(help="Architecture of the baseline.")] = "dlrm",
    zipf: Annotated[float, typer.Option(help="Exponent of both id distributions.")] = 0.8,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the rows.")] = 4,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of one step.")] = 8192,
    learning_rate: Annotated[float, typer.Option(help="Step size of AdamW.")] = 0.001,
    recipes: Annotated[
        Path | None, typer.Option(help="TOML with [[recipes]] instead of the own ones.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Kept; what is trained there is used again.")] = None,
) -> None:
    """Train a model with a long tail, make its variants, and print what each keeps."""
    sizes = {"items": items, "users": users, "interactions": interactions, "dimension": dimension}
    fitting = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    card = CARD.format(**sizes, **fitting, architecture=architecture, zipf=zipf)
    with tempfile.TemporaryDirectory(prefix="long-tail-") as temporary:
        home = (folder or Path(temporary)).absolute()
        _train(home, card)
        (home / "models" / NAME / "model.toml").write_text(
            card + (recipes.read_text() if recipes else RECIPES)
        )
        bayes = _BAYES.search(_slimrank(home, "data", NAME))
        # A variant that cannot be made is named by the command; all others are in the store and are shown.
        made = _run(home, "compress", NAME)
        _show(json.loads(_slimrank(home, "report", NAME, "--json")), float(bayes[1]) if bayes else None)
        if made.returncode:
            raise SystemExit(made.stdout + made.stderr)


def _train(home: Path, card: str) -> None:
    """Train the card, unless the folder holds a checkpoint that the same card made."""
    model = home / "models" / NAME
    model.mkdir(parents=True, exist_ok=True)
    trained = model / "trained.md"  # documents are no part of what a variant is made from
    if trained.exists() and trained.read_text() == card:
        return
    (model / "model.toml").write_text(card)
    print(_slimrank(home, "train", NAME))
    trained.write_text(card)


def _slimrank(home: Path, *words: str) -> str:
    """What the command prints. Raises SystemExit with all of it when it fails."""
    done = _run(home, *words)
    if done.returncode:
        raise SystemExit(f"slimrank {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _run(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    places = {one.upper(): str(home / one) for one in ("models", "store", "cache")}
    environment = os.environ | {f"SLIMRANK_{name}": value for name, value in places.items()}
    command = [str(ROOT / ".venv" / "bin" / "slimrank"), *words]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def _show(found: dict[str, Any], bayes: float | None) -> None:
    table = Table("variant", title=NAME, title_justify="left")
    for heading in ("bytes", "smaller", "AUC", "AUC kept", "at least", "Bayes-optimal AUC", "verdict"):
        table.add_column(heading, justify="right")
    for name, one in found.items():
        size, quality = one["report"]["size"], one["report"]["quality"]
        kept = quality["auc_ratio"]
        table.add_row(
            name,
            f"{size['artifact_bytes']:,}",
            f"{size['compression_ratio']:.1f}x",
            f"{quality['auc']['value']:.4f}",
            f"{kept['value']:.3%}",
            f"{kept['low']:.3%}",
            "-" if bayes is None else f"{bayes:.4f}",
            one["manifest"]["verdict"]["outcome"],
        )
    Console(highlight=False, width=max(120, Console().width)).print(table)


if __name__ == "__main__":
    typer.run(measure)
    sys.exit(0)
