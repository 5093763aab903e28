"""`slimrank rewrite`: a new active.json in place of one that is damaged or gone."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from app.cli.options import check_store, with_settings
from app.model_card import model_names, read_card
from app.rewrite import rewrite_active
from app.settings import Settings
from app.store import ArtifactStore

app = typer.Typer(add_completion=False)


@app.command()
@with_settings("models", "store")
def rewrite(settings: Settings, model: Annotated[str, typer.Argument(help="The model's name.")]) -> None:
    """Activate the newest whole version of each variant, where active.json is damaged or gone."""
    check_store(settings)
    has_card = settings.models.is_dir() and model in model_names(settings.models)
    card = read_card(settings.models / model) if has_card else None
    active, left_out = rewrite_active(ArtifactStore(settings.store), model, card)
    console = Console(highlight=False, soft_wrap=True)
    if card is None:
        where = escape(str(settings.models))
        console.print(
            f"there is no card of {escape(model)} in {where}: no policy of a card counts", style="yellow"
        )
    for reason in left_out:
        console.print(f"left out: {escape(reason)}", style="yellow")
    for variant, version in active.state.versions.items():
        console.print(f"{variant} {version} is active")
    console.print(f"policy: {active.state.policy.described()}")
