"""The load test's own command line; speaks to 127.0.0.1 only, and everything in it is bounded in count and time."""

import os
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console

from loadtest import report as reports
from loadtest.bars_report import in_words
from loadtest.compare import Bench, compare
from loadtest.demo import RATES, measure_demo
from loadtest.install import install
from loadtest.machine import commit_at_the_start
from loadtest.memory import MemoryPlan, measure_memory
from loadtest.other_generators import reach
from loadtest.ourselves import cold_starts, run_scenarios
from loadtest.overload import AUTO, BASELINE, OverloadPlan, measure_overload
from loadtest.peers_bars import peers_bars
from loadtest.prepare import BENCH, LADDER, Prepared, place_of, prepare
from loadtest.recompression import RecompressionPlan, measure_recompression
from loadtest.results import write
from loadtest.scenarios import MIX, ONE_HUNDRED, SHORT, soak
from loadtest.selfcheck import self_check
from loadtest.service import Cores
from loadtest.shadow import Pair, ShadowPlan, measure_shadow
from loadtest.swaps import SwapPlan, measure_swaps
from loadtest.tail import TailPlan, measure_tail

app = typer.Typer(add_completion=False, help=__doc__)
_CONSOLE = Console(highlight=False, soft_wrap=True)
_INT8 = "int8-static"
_STUDENT = "narrow"
_DEMO = "movielens"
_HOUR_MINUTES = 60
_MIXES = {"100": ONE_HUNDRED, "mlperf": MIX}

Model = Annotated[
    str, typer.Option(help="`bench`, which is made when it is needed, or a model of the store.")
]
Variant = Annotated[str, typer.Option(help="The variant to measure.")]
Only = Annotated[str, typer.Option(help="Names of peers with commas between; all without any.")]
Rounds = Annotated[int, typer.Option(min=1, max=50)]
TurnSeconds = Annotated[float, typer.Option(min=0.1, max=60, help="Of each turn.")]


@app.callback(invoke_without_command=True)
def short(context: typer.Context) -> None:
    """Without a command: our own service through every scenario, about 5 minutes."""
    commit_at_the_start()
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
    """Our own service at half of its capacity for a long time: failed requests, growth of memory."""
    # The report has the newest of both: a shorter one says nothing of what takes an hour to show.
    kind = "soak" if minutes >= _HOUR_MINUTES else "short-soak"
    _wrote(kind, run_scenarios(_prepared(model, variant), soak(minutes), Cores()))


@app.command()
def overload(
    model: Model = LADDER,
    mix: Annotated[
        str, typer.Option(help="Candidates: `100`, or `mlperf`, a mix with a mean of 270.")
    ] = "100",
    deadline_ms: Annotated[float, typer.Option(min=1, max=10_000)] = OverloadPlan.deadline_ms,
    seconds: TurnSeconds = OverloadPlan.seconds,
    bar_seconds: Annotated[
        float, typer.Option(min=0, max=600, help="Of each form at 3 times its capacity; 0: none.")
    ] = OverloadPlan.bar_seconds,
) -> None:
    """0.2 to 4 times the capacity with a deadline: each variant alone, and the ladder, in turns; 18 minutes."""
    if mix not in _MIXES:
        raise typer.BadParameter(f"there is no mix {mix!r}; there are: {', '.join(_MIXES)}")
    plan = OverloadPlan(mix=_MIXES[mix], deadline_ms=deadline_ms, seconds=seconds, bar_seconds=bar_seconds)
    _wrote("overload", measure_overload(_prepared(model, BASELINE), plan, Cores()))


@app.command()
def tail(
    model: Model = LADDER, rounds: Rounds = TailPlan.rounds, seconds: TurnSeconds = TailPlan.seconds
) -> None:
    """70% of what fp32 can do: fp32 alone and the ladder with a deadline of 25 and of 10 ms, in turns; 6 minutes."""
    plan = TailPlan(rounds=rounds, seconds=seconds)
    _wrote("tail", measure_tail(_prepared(model, BASELINE), plan, Cores()))


@app.command()
def swaps(
    model: Model = BENCH,
    variant: Variant = _INT8,
    count: Annotated[int, typer.Option(min=1, max=10_000)] = SwapPlan.count,
    poll_seconds: Annotated[
        float, typer.Option(min=0.01, max=10, help="How often the worker looks for new versions.")
    ] = SwapPlan.poll_seconds,
) -> None:
    """Hot swaps under load, each as soon as the worker has taken up the one before; some minutes for 1,000."""
    plan = SwapPlan(count=count, poll_seconds=poll_seconds)
    _wrote("swaps", measure_swaps(_prepared(model, variant), plan, Cores()))


@app.command()
def recompression(
    model: Model = BENCH,
    variant: Variant = _INT8,
    rounds: Rounds = RecompressionPlan.rounds,
    seconds: TurnSeconds = RecompressionPlan.seconds,
) -> None:
    """Full load on both cores, quiet and with a recompression beside it, in turns; 4 minutes."""
    plan = RecompressionPlan(rounds=rounds, seconds=seconds)
    _wrote("recompression", measure_recompression(_prepared(model, variant), plan))


@app.command()
def shadow(
    model: Model = BENCH,
    variant: Annotated[str, typer.Option(help="The variant that answers.")] = _INT8,
    against: Annotated[str, typer.Option(help="The shadow.")] = BASELINE,
    rounds: Rounds = ShadowPlan.rounds,
    percent: Annotated[
        float, typer.Option(min=0.01, max=100, help="Of the answers that are sampled.")
    ] = ShadowPlan.percent,
) -> None:
    """30% and 70% of the capacity and three times of it, without a shadow and with one, in turns; 4 minutes."""
    plan = ShadowPlan(rounds=rounds, percent=percent)
    # The first ten of these two have a third in common: a figure that is always near 1 would not pass for the truth.
    proof = Pair(_prepared(LADDER, _STUDENT), BASELINE)
    _wrote("shadow", measure_shadow(Pair(_prepared(model, variant), against), proof, plan, Cores()))


@app.command()
def memory(
    gigabytes: Annotated[float, typer.Option(min=0.01, max=16, help="Of the table (10^9 bytes).")] = 1.0,
    workers: Annotated[str, typer.Option(help="Numbers of workers with commas between.")] = "1,2,4",
) -> None:
    """Proportional memory of several workers that serve one large table; 3 minutes, and 3 GB of disk for each GB."""
    numbers = tuple(int(one) for one in workers.split(","))
    os.sched_setaffinity(0, {Cores().client})
    _wrote("memory", measure_memory(MemoryPlan(table_bytes=int(gigabytes * 1e9), workers=numbers)))


@app.command()
def demo(
    model: Model = _DEMO,
    asked: Annotated[str, typer.Option("--ours", help="What Slimrank is asked for.")] = AUTO,
    variant: Annotated[str, typer.Option(help="What the peers serve.")] = BASELINE,
    only: Only = "",
    rounds: Rounds = Bench.rounds,
    seconds: TurnSeconds = Bench.seconds,
) -> None:
    """The demo's best variant on Slimrank beside its baseline on the peers and an empty route, in turns; 15 minutes."""
    bench = replace(Bench(), rounds=rounds, seconds=seconds, rates=RATES)
    _wrote("demo", measure_demo(_prepared(model, variant), bench, _names(only), asked))


@app.command()
def peers(
    model: Model = BENCH,
    variants: Annotated[str, typer.Option(help="Variants with commas between.")] = f"baseline,{_INT8}",
    only: Only = "",
    rounds: Rounds = Bench.rounds,
    seconds: TurnSeconds = Bench.seconds,
) -> None:
    """Every installed peer beside us: same graph, same requests, one core, in turns."""
    bench = replace(Bench(), rounds=rounds, seconds=seconds)
    for variant in variants.split(","):
        found = compare(_prepared(model, variant), bench, _names(only))
        bars = peers_bars(found) if variant == BASELINE else []
        _wrote(f"peers-{model}-{variant}", {**found, "bars": bars})


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


def _names(only: str) -> list[str]:
    return [name.strip() for name in only.split(",") if name.strip()]


def _prepared(model: str, variant: str) -> Prepared:
    prepared = prepare(place_of(model), variant)
    os.sched_setaffinity(0, {Bench().client_core})
    return prepared


def _wrote(kind: str, content: dict[str, object]) -> None:
    for bar in content.get("bars", []):  # type: ignore[attr-defined]
        _CONSOLE.print(in_words(bar))
    _CONSOLE.print(f"wrote {write(kind, content)}")


if __name__ == "__main__":
    app()
