"""The load test's own command line; speaks to 127.0.0.1 only, and everything in it is bounded in count and time."""

import os
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from loadtest import report as reports
from loadtest.compare import Bench, compare
from loadtest.install import install
from loadtest.other_generators import reach
from loadtest.ourselves import Cores, cold_starts, run_scenarios
from loadtest.prepare import BENCH, Prepared, place_of, prepare
from loadtest.results import write
from loadtest.scenarios import SHORT, soak
from loadtest.selfcheck import self_check

app = typer.Typer(add_completion=False, help=__doc__)
_CONSOLE = Console(highlight=False, soft_wrap=True)
_INT8 = "int8-static"

Model = Annotated[
    str, typer.Option(help="`bench`, which is made when it is needed, or a model of the store.")
]
Variant = Annotated[str, typer.Option(help="The variant to measure.")]


@app.callback(invoke_without_command=True)
def short(context: typer.Context) -> None:
    """Without a command: our own service through every scenario, about 4 minutes."""
    if context.invoked_subcommand is None:
        ours()


@app.command()
def ours(model: Model = BENCH, variant: Variant = _INT8) -> None:
    """Our own service through every scenario, and from a cold start."""
    prepared = _prepared(model, variant)
    _wrote("ours", {"cold": cold_starts(prepared, Cores()), **run_scenarios(prepared, SHORT, Cores())})


@app.command(name="soak")
def long(
    model: Model = BENCH,
    variant: Variant = _INT8,
    minutes: Annotated[float, typer.Option(min=0.1, max=120)] = 10.0,
) -> None:
    """Our own service at half of its capacity for a long time."""
    _wrote("soak", run_scenarios(_prepared(model, variant), soak(minutes), Cores()))


@app.command()
def peers(
    model: Model = BENCH,
    variants: Annotated[str, typer.Option(help="Variants with commas between.")] = f"baseline,{_INT8}",
    only: Annotated[str, typer.Option(help="Names of peers with commas between; all without any.")] = "",
    rounds: Annotated[int, typer.Option(min=1, max=50)] = Bench.rounds,
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="Of each turn.")] = Bench.seconds,
) -> None:
    """Every installed peer beside us: same graph, same requests, one core, in turns."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    bench = replace(Bench(), rounds=rounds, seconds=seconds)
    for variant in variants.split(","):
        _wrote(f"peers-{model}-{variant}", compare(_prepared(model, variant), bench, names))


@app.command()
def check(model: Model = BENCH, variant: Variant = _INT8) -> None:
    """Whether the instrument can be trusted: the null server, and faults planted on purpose."""
    found = self_check(_prepared(model, variant), Bench())
    for fault, one in found["faults"].items():
        _CONSOLE.print(f"planted: {fault}; seen: {one['seen'] or 'nothing'}")
    _wrote("check", found)


@app.command()
def generators(model: Model = BENCH, variant: Variant = _INT8) -> None:
    """Our generator and others (wrk, Locust; what is not installed is named) against the null server."""
    _wrote("generators", reach(_prepared(model, variant), Bench()))


@app.command(name="install")
def install_peers() -> None:
    """Make the peers' virtual environments (in .cache/peers; some hundred megabytes each)."""
    if failed := install():
        _CONSOLE.print(f"not installed, and left out of comparisons: {', '.join(failed)}")


@app.command()
def report() -> None:
    """Markdown and a page with plots from the newest result files."""
    for path in reports.write_all():
        _CONSOLE.print(f"wrote {path}")


def _prepared(model: str, variant: str) -> Prepared:
    prepared = prepare(place_of(model), variant)
    os.sched_setaffinity(0, {Bench().client_core})
    return prepared


def _wrote(kind: str, content: dict[str, object]) -> None:
    _CONSOLE.print(f"wrote {write(kind, content)}")


if __name__ == "__main__":
    app()
