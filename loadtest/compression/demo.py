"""What the demo's recipes reach: `python -m loadtest.compression.demo`.

The demo is compressed by the command line, where its variants are not up to date, and its reports are read. Of the
variants that the gate lets pass, the one that is fastest at 1,000 candidates is held against the bars.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from loadtest.bars import Bar
from loadtest.compression.demo_report import demo_variants_table
from loadtest.compression.home import Home
from loadtest.prepare import ROOT
from loadtest.results import write

NAME = "variants"
MODEL = "movielens"
SMALLER = Bar("the demo's fastest variant: artifact smaller", 20, "x", at_least=True)
FASTER = Bar("the demo's fastest variant, 1,000 candidates, one thread: p50 lower", 20, "x", at_least=True)
AUC = Bar("the demo's fastest variant: AUC kept at the lower bound", 0.999, "%", at_least=True)
NDCG = Bar("the demo's fastest variant: NDCG@10 kept at the lower bound", 0.995, "%", at_least=True)
AIM = 50
"""What is aimed at beyond the bars: so many times smaller and faster."""


def measure(home: Home, model: str = MODEL) -> dict[str, Any]:
    """Compress what is not up to date, and judge it. Raises SystemExit with what the command line said if it fails."""
    home.slimrank("compress", model)
    variants = {name: _figures(one) for name, one in home.reports(model).items()}
    best = fastest(variants)
    return {
        "model": model,
        "best": best,
        "aim": AIM,
        "variants": variants,
        "bars": judged(variants.get(best or "")),
    }


def fastest(variants: dict[str, dict[str, Any]]) -> str | None:
    """The variant with the largest speed-up at the largest count among those that passed."""
    passed = [name for name, one in variants.items() if one["outcome"] == "passed"]
    return max(passed, key=lambda name: _faster(variants[name]), default=None)


def judged(best: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The bars; without a variant that passed, all of them fall short."""
    if best is None:
        return [bar.judged(None) for bar in (SMALLER, FASTER, AUC, NDCG)]
    return [
        SMALLER.judged(best["smaller"]),
        FASTER.judged(_faster(best)),
        AUC.judged(best["auc_kept"]["low"]),
        NDCG.judged(best["ndcg_kept"]["low"]),
    ]


def _faster(variant: dict[str, Any]) -> float:
    return float(max(variant["latency"], key=lambda one: one["candidates"])["speedup"])


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    report, verdict = found["report"], found["manifest"]["verdict"]
    quality = report["quality"]
    return {
        "bytes": report["size"]["artifact_bytes"],
        "smaller": report["size"]["compression_ratio"],
        "auc": quality["auc"],
        "auc_kept": quality["auc_ratio"],
        "ndcg_at_10": quality["ndcg_at_10"],
        "ndcg_kept": quality["ndcg_at_10_ratio"],
        "overlap_at_10": report["agreement"]["overlap_at_10"],
        "distinct_score_ratio": report["agreement"]["distinct_score_ratio"],
        "batch_difference": report["agreement"]["batch_difference"],
        "latency": report["latency"],
        "outcome": verdict["outcome"],
        "reason": verdict["reason"],
    }


def main(
    store: Annotated[Path, typer.Option(help="Where the variants are, or are put.")] = ROOT / "store",
    models: Annotated[Path, typer.Option(help="The model repository.")] = ROOT / "models",
    cache: Annotated[Path, typer.Option(help="Where data sets are fetched to.")] = ROOT / ".cache",
    *,
    result: Annotated[bool, typer.Option(help="Write a result file.")] = True,
) -> None:
    """Compress the demo, and print what its variants keep and gain."""
    console = Console(highlight=False, soft_wrap=True)
    found = measure(Home(models.absolute(), store.absolute(), cache.absolute()))
    if result:
        console.print(f"wrote {write(NAME, found)}", markup=False)
    console.print(demo_variants_table(found), markup=False)


if __name__ == "__main__":
    typer.run(main)
