"""`slimrank models`: what the model repository and the store hold."""

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.active import Active
from app.cli.cards import read_cards
from app.cli.options import with_settings
from app.fingerprint import stale_variants
from app.published import Variants, published_variants
from app.report import Report, Verdict
from app.settings import Settings
from app.store import ArtifactStore

app = typer.Typer(add_completion=False)


@app.command()
@with_settings("models", "store")
def models(settings: Settings) -> None:
    """List the models, their active variants, and what is not up to date."""
    store = ArtifactStore(settings.store)
    cards = {card.name: card for card in read_cards(settings.models)}
    console = Console()
    names = sorted({*cards, *store.models()})
    if not names:
        console.print(f"no models in {str(settings.models)!r}, and none in the store")
    for name in names:
        found = published_variants(store, name)
        console.print(_table(name, cards[name].title if name in cards else "", found))
        for what, reason in found.unreadable.items():
            console.print(
                f"{what}: unreadable, {escape(reason)}", soft_wrap=True, highlight=False, style="red"
            )
        if found.active == Active() and found.readable:
            hint = f"its active.json is gone: `slimrank rewrite {name}` activates what is published"
            console.print(hint, soft_wrap=True, highlight=False, style="red")
        if found.active is None:
            continue  # what is up to date cannot be told
        if name not in cards:
            console.print("its folder is gone from the models; it is served from the store", style="yellow")
        elif stale := stale_variants(cards[name], settings.models / name, store):
            console.print(f"not up to date: {', '.join(stale)}", style="yellow")


def _table(model: str, title: str, found: Variants) -> Table:
    active = found.active or Active()
    caption = f"revision {active.revision}, policy: {active.state.policy.described()}"
    if not active.revision:
        caption = "nothing is active yet" if found.active else "what is active cannot be read"
    table = Table(
        title=f"{model}: {title}" if title else model,
        caption=caption,
        title_justify="left",
        caption_justify="left",
    )
    for column, justify in (("variant", "left"), ("version", "left"), ("verdict", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for column in ("size", "smaller", "auc", "p50 at 100"):
        table.add_column(column, justify="right")
    for variant, version in active.state.versions.items():
        one = found.readable.get(variant)
        table.add_row(
            variant, version, *(_facts(one.verdict, one.report) if one else ["[red]unreadable[/red]"])
        )
    return table


def _facts(verdict: Verdict, report: Report) -> list[str]:
    latency = report.latency_at(100)
    return [
        verdict.outcome,
        f"{report.size.artifact_bytes / 1e6:.2f} MB",
        f"{report.size.compression_ratio:.1f}x",
        f"{report.quality.auc.value:.4f}" if report.quality else "-",
        f"{latency.p50_ms:.3f} ms" if latency else "-",
    ]
