"""`slimrank data`: what a model's data hold, on the screen or as files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.options import with_settings
from app.compression.questions import export_questions
from app.encoding import Encoder
from app.model_card import read_card
from app.settings import Settings
from app.training.data.source import Place
from app.training.rows import Prepared
from app.training.source import load_encoder
from app.training.train import data_of, prepare_data

app = typer.Typer(add_completion=False)


@app.command()
@with_settings("models", "cache")
def data(
    settings: Settings,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    write_encoder: Annotated[
        bool,
        typer.Option(
            "--write-encoder", help="Write the encoder fitted on the training rows into the model's folder."
        ),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Write the encoded rows and the lists that evaluation ranks into this folder, as .npz files.",
        ),
    ] = None,
) -> None:
    """Read, check, split and encode the data of a model, and show what they hold.

    --export encodes with the encoder in the model's folder, which its weights were trained with.
    """
    folder = settings.models / model
    card = read_card(folder)
    place = Place(settings.cache, folder)
    if export is not None:
        for path in export_questions(prepare_data(card, place, load_encoder(card, folder)), export):
            print(f"wrote {path} ({path.stat().st_size:,} bytes)")
        return
    prepared = prepare_data(card, place)
    console = Console(highlight=False)
    console.print(_rows_table(prepared, f"{model}: {data_of(card).source}"))
    console.print(_features_table(prepared))
    for name, value in prepared.dataset.facts.items():
        console.print(f"{name}: {value:.4f}")
    console.print(f"sha256 of the data: {prepared.dataset.sha256[:16]}", style="dim")
    if write_encoder:
        path = folder / card.source.encoder
        path.write_bytes(prepared.encoder.to_json())
        print(f"wrote {path}")


def _rows_table(prepared: Prepared, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("rows", "interactions", "users", "items", "positive"):
        table.add_column(heading, justify="left" if heading == "rows" else "right")
    for name in ("train", "validation", "test"):
        rows = getattr(prepared, name)
        users, items = len(set(rows.user_row.tolist())), len(set(rows.item_row.tolist()))
        table.add_row(
            name, f"{len(rows):,}", f"{users:,}", f"{items:,}", f"{(rows.labels >= 0.5).mean():.1%}"
        )
    return table


def _features_table(prepared: Prepared) -> Table:
    table = Table(
        "feature", "side", "kind", "vocabulary", "description", title="features", title_justify="left"
    )
    encoder: Encoder = prepared.encoder
    for feature in encoder.schema.features:
        is_table = feature in encoder.schema.tables
        known = f"{encoder.cardinality(feature.name) - 1:,}" if is_table else ""
        table.add_row(feature.name, str(feature.side), feature.kind, known, escape(feature.description))
    return table
