"""`slimrank verify`: is everything in the store what was published?"""

import typer
from rich.console import Console
from rich.markup import escape

from app.cli.options import check_store, with_settings
from app.settings import Settings
from app.store import ArtifactStore

app = typer.Typer(add_completion=False)


@app.command()
@with_settings("store")
def verify(settings: Settings) -> None:
    """Compare every artifact, byte for byte, with its manifest. Exit code 1 when something is corrupt."""
    check_store(settings)
    console = Console(soft_wrap=True, highlight=False)
    checked = corrupt = 0
    for name, fault in ArtifactStore(settings.store).verify():
        checked += 1
        corrupt += fault is not None
        outcome = "[green]ok     [/green]" if fault is None else "[red]corrupt[/red]"
        console.print(f"{outcome} {escape(name)}{f'  ({escape(fault.message)})' if fault else ''}")
    console.print(f"{checked} checked, {corrupt} corrupt")
    if corrupt:
        raise typer.Exit(1)
