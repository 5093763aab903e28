"""The load test's own command line; speaks to 127.0.0.1 only, and everything in it is bounded in count and time."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadtest import report as reports
from loadtest.compare import Bench, compare
from loadtest.install import install
from loadtest.ourselves import Cores, run_scenarios
from loadtest.prepare import prepare
from loadtest.results import write
from loadtest.scenarios import SHORT, SOAK
from loadtest.selfcheck import self_check
from loadtest.servers import ROOT

app = typer.Typer(add_completion=False, help=__doc__)
_CONSOLE = Console(highlight=False, soft_wrap=True)

Store = Annotated[Path, typer.Option(help="The store to take the graphs from.")]
Variant = Annotated[str, typer.Option(help="The variant to measure.")]


@app.callback(invoke_without_command=True)
def short(context: typer.Context) -> None:
    """Without a command: our own service through every scenario, about 3 minutes."""
    if context.invoked_subcommand is None:
        ours()


@app.command()
def ours(store: Store = Path("store"), variant: Variant = "int8-static", *, soak: bool = False) -> None:
    """Our own service through every scenario; with --soak, ten minutes at half of its capacity."""
    folder = _prepared(store, variant)
    found = run_scenarios(folder, SOAK if soak else SHORT, Cores())
    _wrote("soak" if soak else "ours", found)


@app.command()
def peers(
    store: Store = Path("store"),
    variants: Annotated[str, typer.Option(help="Variants with commas between.")] = "baseline,int8-static",
    only: Annotated[str, typer.Option(help="Names of peers with commas between; all without any.")] = "",
    rounds: Annotated[int, typer.Option(min=1, max=20)] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="Of each measurement.")] = 4.0,
) -> None:
    """Every installed peer beside us: same graph, same requests, one core, in turns."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    bench = replace(Bench(), rounds=rounds, seconds=seconds)
    for variant in variants.split(","):
        _wrote(f"peers-{variant}", compare(_prepared(store, variant), bench, names))


@app.command()
def check(store: Store = Path("store"), variant: Variant = "int8-static") -> None:
    """Whether the instrument can be trusted: the null server, and faults planted on purpose."""
    found = self_check(_prepared(store, variant), Bench())
    for fault, one in found["faults"].items():
        _CONSOLE.print(f"planted: {fault}; seen: {one['seen'] or 'nothing'}")
    _wrote("check", found)


@app.command(name="install")
def install_peers() -> None:
    """Make the peers' virtual environments (in .cache/peers; some hundred megabytes each)."""
    if failed := install():
        raise SystemExit(f"not installed, and left out of comparisons: {', '.join(failed)}")


@app.command()
def report() -> None:
    """Markdown and a page with plots from the newest result files."""
    for path in reports.write_all():
        _CONSOLE.print(f"wrote {path}")


def _prepared(store: Path, variant: str) -> Path:
    os.sched_setaffinity(0, {Bench().client_core})
    return prepare(store, variant, ROOT / ".cache" / "loadtest")


def _wrote(kind: str, content: dict[str, object]) -> None:
    _CONSOLE.print(f"wrote {write(kind, content)}")


if __name__ == "__main__":
    app()
