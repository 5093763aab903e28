"""Slimrank beside other compression tools: python -m loadtest.compression install, then run, then report."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadtest.compression.compare import compare
from loadtest.compression.report import comparison_table
from loadtest.compression.tool import known_tools
from loadtest.environment import make_environment
from loadtest.prepare import ROOT, Place
from loadtest.results import newest, write

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
_CONSOLE = Console(highlight=False, soft_wrap=True)
Model = Annotated[str, typer.Option(help="A model that the store has a baseline of.")]


@app.command()
def install() -> None:
    """Make the tools' virtual environments (in .cache/peers/compression; some 3 GB in all, torch the most of it)."""
    failed = []
    for tool in known_tools().values():
        if not tool.installed:
            _CONSOLE.print(f"installing {tool.name}: {', '.join(tool.requirements)}")
            if not make_environment(tool.name, tool.home, tool.requirements):
                failed.append(tool.name)
    if failed:
        _CONSOLE.print(f"not installed, and left out: {', '.join(failed)}")


@app.command()
def run(
    model: Model = "movielens",
    only: Annotated[str, typer.Option(help="Names of tools with commas between; all without any.")] = "",
    samples: Annotated[int, typer.Option(min=30, max=10_000, help="Timed runs at each count.")] = 300,
    store: Annotated[Path, typer.Option(help="Where the variants are.")] = ROOT / "store",
    models: Annotated[Path, typer.Option(help="The model repository.")] = ROOT / "models",
) -> None:
    """Let every tool compress the model's baseline, measure all of it beside our own variants, and show the table."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = compare(Place(model, models, store), names, samples, _CONSOLE.print)
    _CONSOLE.print(f"wrote {write(f'compression-{model}', found)}")
    report(model)


@app.command()
def report(model: Model = "movielens") -> None:
    """Print the table of the newest result."""
    results = newest(f"compression-{model}")
    if not results:
        raise SystemExit("there is no result yet: python -m loadtest.compression run")
    print(comparison_table(results[0]))


if __name__ == "__main__":
    app()
