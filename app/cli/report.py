"""`slimrank report`: what each variant of a model costs and gains, as a table or as JSON."""

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.options import with_settings
from app.errors import ArtifactCorrupt, UnknownModel
from app.model_card import BASELINE
from app.published import Published, Variants, published_variants
from app.report import Interval, Report, Verdict
from app.settings import Settings
from app.store import ArtifactStore

app = typer.Typer(add_completion=False)
_COUNTS = (1, 100, 1000)
_WIDE = 135
"""Columns of a terminal that the table with one line for each variant needs."""
_COLOURS = {"passed": "green", "rejected": "yellow", "baseline": "cyan"}


@app.command()
@with_settings("store")
def report(
    settings: Settings,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was measured, as JSON.")] = False,
) -> None:
    """Show size, quality with its 95% interval, latency, verdict and notes of each variant."""
    store = ArtifactStore(settings.store)
    found = _published(store, model)
    if as_json:
        content: dict[str, dict[str, Any]] = {
            name: {"manifest": one.manifest, "report": one.report} for name, one in found.readable.items()
        }
        content |= {name: {"unreadable": reason} for name, reason in found.unreadable.items()}
        print(msgspec.json.format(msgspec.json.encode(content)).decode())
        return
    console = Console(highlight=False)
    console.print(_table(model, found.readable, wide=console.width >= _WIDE))
    for name, reason in found.unreadable.items():
        console.print(f"{name}: unreadable, {escape(reason)}", soft_wrap=True, style="red")
    for name, one in found.readable.items():
        if name != BASELINE:
            console.print(f"{name}: {one.verdict.outcome}, {escape(one.verdict.reason)}", soft_wrap=True)
        for note in one.report.notes:
            console.print(f"{name}: {escape(note)}", soft_wrap=True)
    machine = next(iter(found.readable.values())).report.machine
    console.print(
        f"measured on {escape(machine.processor)}, {machine.cores} cores, onnxruntime {machine.onnxruntime}, "
        "one thread; p50 and p99 of session.run in ms; quality on the test rows; overlap with the baseline",
        soft_wrap=True,
        style="dim",
    )


def _published(store: ArtifactStore, model: str) -> Variants:
    """At least one variant that can be read. Raises UnknownModel, ArtifactCorrupt."""
    # A name never becomes a path before it is known.
    found = published_variants(store, model) if model in store.models() else Variants({}, {}, None)
    if not found.readable and found.unreadable:
        raise ArtifactCorrupt(f"no variant can be read: {'; '.join(found.unreadable.values())}")
    if not found.readable:
        raise UnknownModel(
            f"nothing of a model {model!r} is in the store; `slimrank compress {model}` makes it"
        )
    return found


def _table(model: str, found: dict[str, Published], *, wide: bool) -> Table:
    """One line for each variant; on a narrow terminal one column for each, so that no figure is cut off."""
    headings = ["variant", "size", "ratio", "AUC", "NDCG@10", "overlap@10"]
    headings += [*(f"ms at {n:,}" for n in _COUNTS), "verdict"]
    lines = [[name, *_cells(one.report, one.verdict)] for name, one in found.items()]
    if not wide:
        headings, *lines = (list(column) for column in zip(headings, *lines, strict=True))
    table = Table(title=model, title_justify="left", padding=(0, 1) if wide else (0, 0))
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left", no_wrap=position == 0)
    for line in lines:
        table.add_row(*line)
    return table


def _cells(one: Report, verdict: Verdict) -> list[str]:
    return [
        _bytes(one.size.artifact_bytes),
        f"{one.size.compression_ratio:.1f}x",
        _interval(one.quality.auc) if one.quality else "-",
        f"{one.quality.ndcg_at_10.value:.4f}" if one.quality and one.quality.ndcg_at_10 else "-",
        _number(one.agreement.overlap_at_10 if one.agreement else None),
        *(_latency(one, count) for count in _COUNTS),
        f"[{_COLOURS[verdict.outcome]}]{verdict.outcome}[/]",
    ]


def _latency(report: Report, candidates: int) -> str:
    one = report.latency_at(candidates)
    return f"{one.p50_ms:.2f} / {one.p99_ms:.2f}" if one else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(one: Interval) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
