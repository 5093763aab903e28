"""`slimrank compress`: make variants now, in this process; a running service takes them up by itself."""

import secrets
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape

from app.cli.options import with_settings
from app.cli.progress import shown_progress
from app.compression.pipeline import compress
from app.compression.site import Selection, Site
from app.errors import Conflict
from app.jobs import QUEUE_FILE, JobQueue
from app.settings import Settings
from app.store import ArtifactStore

app = typer.Typer(add_completion=False)
_COLOURS = {"passed": "green", "rejected": "yellow", "failed": "red", "baseline": "cyan"}


@app.command()
@with_settings("store", "models", "cache", "compressor_threads", "keep_versions")
def compress_model(
    settings: Settings,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    recipes: Annotated[
        str, typer.Option(help="Names of recipes of the card with commas between; without any, all of them.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Make them even where they are up to date.")] = False,
) -> None:
    """Make, measure, publish and activate the variants of a model that are not up to date."""
    torch.set_num_threads(settings.compressor_threads)
    names = [name.strip() for name in recipes.split(",") if name.strip()] or None
    site = Site(settings.models, ArtifactStore(settings.store), settings.cache, settings.keep_versions)
    with JobQueue(settings.store / QUEUE_FILE).sole_compressor() as alone, shown_progress(model) as progress:
        if not alone:
            raise Conflict("a compressor is at work on this store; see `slimrank jobs list`")
        # An origin of its own: one roll-back undoes one run.
        selection = Selection(names, force=force, origin=f"command line {secrets.token_hex(4)}")
        outcomes = compress(model, selection, site, progress)
    console = Console(highlight=False, soft_wrap=True)
    for one in outcomes:
        made = "up to date" if one.reused else f"made in {one.seconds:.0f} s"
        colour = _COLOURS[one.outcome]
        console.print(
            f"{one.variant} {one.version} ({made}): [{colour}]{one.outcome}[/{colour}], {escape(one.reason)}"
        )
