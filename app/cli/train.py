"""`slimrank train`: train a model of the repository from scratch."""

import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from app.cli.options import with_settings
from app.cli.progress import shown_progress
from app.compression.evaluate import Evaluation
from app.compression.scorer import Scorer
from app.errors import ConfigurationError, DataUnavailable
from app.model_card import ModelCard, read_card
from app.report import Interval, Quality
from app.settings import Settings
from app.training.data.source import Place
from app.training.export import export
from app.training.graph_file import write_graph
from app.training.train import Trained, data_of, save, train

app = typer.Typer(add_completion=False)


@app.command()
@with_settings("models", "cache", "compressor_threads")
def train_model(
    settings: Settings,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    seeds: Annotated[
        str,
        typer.Option(
            help="Several seeds with commas between, to see how far results vary; nothing is written."
        ),
    ] = "",
) -> None:
    """Train the model that its card describes; write checkpoint and encoder into its folder; show its quality.

    With --seeds each seed draws its own split, its own weights and its own order of the rows.
    """
    torch.set_num_threads(settings.compressor_threads)
    folder = settings.models / model
    card = read_card(folder)
    place = Place(settings.cache, folder)
    if not seeds:
        _run(card, place, keep=True)
        return
    found = [_run(_with_seed(card, seed), place, keep=False) for seed in _numbers(seeds)]
    mean = sum(one.auc.value for one in found) / len(found)
    Console().print(f"mean test AUC of {len(found)} seeds: {mean:.4f}", highlight=False)


def _run(card: ModelCard, place: Place, *, keep: bool) -> Quality:
    """Train, show, and give the quality. Raises DataUnavailable when the test rows are all of one class."""
    seed = card.training.get("seed", 0)
    with shown_progress(f"{card.name}, seed {seed}") as progress:
        trained = train(card, place, progress)
    if keep:
        for path in save(trained, card, place.folder):
            print(f"wrote {path} ({path.stat().st_size:,} bytes)")
    quality = _quality(trained)
    Console().print(_table(trained, quality, f"{card.name}, seed {seed}"))
    for name, value in trained.prepared.dataset.facts.items():
        print(f"{name}: {value:.4f}")
    return quality


def _with_seed(card: ModelCard, seed: int) -> ModelCard:
    data = data_of(card)
    split = data.split.model_copy(update={"seed": seed})
    return card.model_copy(
        update={
            "data": data.model_copy(update={"split": split}),
            "training": {**card.training, "seed": seed},
        }
    )


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"--seeds: {text!r} is not a list of numbers with commas between") from None


def _quality(trained: Trained) -> Quality:
    """Quality on the test rows, of the graph as it would be served."""
    with tempfile.TemporaryDirectory() as folder:
        write_graph(export(trained.module, trained.encoder), Path(folder))
        evaluation = Evaluation(trained.prepared, Scorer(Path(folder)))
        quality = evaluation.quality(evaluation.baseline)
    if quality is None:
        raise DataUnavailable("the test rows are all of one class: there is no AUC to measure")
    return quality


def _number(value: Interval | float | None) -> str:
    if isinstance(value, Interval):
        value = value.value
    return "-" if value is None else f"{value:.4f}"


def _table(trained: Trained, quality: Quality, title: str) -> Table:
    table = Table("measure", "value", title=title, title_justify="left")
    parameters = sum(one.numel() for one in trained.module.parameters())
    fit = trained.fit
    rows = [
        ("parameters", f"{parameters:,}"),
        ("best epoch", f"{fit.best_epoch} of {len(fit.validation_auc)}, {fit.seconds:.0f} s"),
        ("validation AUC", f"{max(fit.validation_auc):.4f}"),
        ("test rows", f"{quality.rows:,}"),
        ("test AUC", f"{quality.auc.value:.4f}  [{quality.auc.low:.4f}, {quality.auc.high:.4f}]"),
        ("GAUC", _number(quality.gauc)),
        ("log loss", f"{quality.log_loss:.4f}"),
        ("NDCG@10, 1 positive among 100", _number(quality.ndcg_at_10)),
        (
            "hit rate@10, 1 positive among 100",
            _number(quality.hit_rate_at_10),
        ),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table
