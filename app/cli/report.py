"""`slimrank report`: what each variant of a model costs and gains, as a table or as JSON."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.artifact import Manifest, read_report
from app.cli.options import with_settings
from app.errors import UnknownModel
from app.model_card import BASELINE
from app.report import Interval, Report
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
        content = {name: {"manifest": manifest, "report": one} for name, (manifest, one) in found.items()}
        print(msgspec.json.format(msgspec.json.encode(content)).decode())
        return
    console = Console(highlight=False)
    console.print(_table(model, found, wide=console.width >= _WIDE))
    for name, (manifest, one) in found.items():
        if manifest.verdict is not None and name != BASELINE:
            console.print(
                f"{name}: {manifest.verdict.outcome}, {escape(manifest.verdict.reason)}", soft_wrap=True
            )
        for note in one.notes:
            console.print(f"{name}: {escape(note)}", soft_wrap=True)
    machine = next(iter(found.values()))[1].machine
    console.print(
        f"measured on {escape(machine.processor)}, {machine.cores} cores, onnxruntime {machine.onnxruntime}, "
        "one thread; p50 and p99 of session.run in ms; quality on the test rows; overlap with the baseline",
        soft_wrap=True,
        style="dim",
    )


def _published(store: ArtifactStore, model: str) -> dict[str, tuple[Manifest, Report]]:
    """Manifest and report of every variant, the baseline first: the active version, else the newest."""
    names = sorted(
        store.variants(model) if model in store.models() else (), key=lambda one: (one != BASELINE, one)
    )
    if not names:
        raise UnknownModel(
            f"nothing of a model {model!r} is in the store; `slimrank compress {model}` makes it"
        )
    active = store.active(model).state.versions
    found = {}
    for name in names:
        newest = next((one.version for one in store.manifests(model, name)), None)
        version = active.get(name) or newest
        if version is None:
            continue  # none of its versions can be read; `slimrank verify` says what is wrong with them
        manifest = store.manifest(model, name, version)
        found[name] = (manifest, read_report(store.folder(model, name, version)))
    return found


def _table(model: str, found: dict[str, tuple[Manifest, Report]], *, wide: bool) -> Table:
    """One line for each variant; on a narrow terminal one column for each, so that no figure is cut off."""
    headings = ["variant", "size", "ratio", "AUC", "NDCG@10", "overlap@10"]
    headings += [*(f"ms at {n:,}" for n in _COUNTS), "verdict"]
    lines = [[name, *_cells(manifest, one)] for name, (manifest, one) in found.items()]
    if not wide:
        headings, *lines = (list(column) for column in zip(headings, *lines, strict=True))
    table = Table(title=model, title_justify="left", padding=(0, 1) if wide else (0, 0))
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left", no_wrap=position == 0)
    for line in lines:
        table.add_row(*line)
    return table


def _cells(manifest: Manifest, one: Report) -> list[str]:
    outcome = manifest.verdict.outcome if manifest.verdict else ""
    return [
        _bytes(one.size.artifact_bytes),
        f"{one.size.compression_ratio:.1f}x",
        _interval(one.quality.auc) if one.quality else "-",
        f"{one.quality.ndcg_at_10.value:.4f}" if one.quality and one.quality.ndcg_at_10 else "-",
        _number(one.agreement.overlap_at_10 if one.agreement else None),
        *(_latency(one, count) for count in _COUNTS),
        f"[{_COLOURS.get(outcome, 'white')}]{outcome}[/]",
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
