"""Rungs of a ladder with the figures that a test wants."""

from collections.abc import Mapping

from app.report import Interval, Latency, Machine, Quality, Report, Size, Verdict
from app.serving.ladder import Rung

_MACHINE = Machine("a processor", ["avx2"], 2, 2**30, "6.1", "1.32")


def a_rung(
    variant: str,
    outcome: str = "passed",
    speedups: Mapping[int, float] | None = None,
    kept: tuple[float, float, float] | None = None,
) -> Rung:
    """A rung with these speed-ups by candidate count, and this share (and interval) of the baseline's NDCG@10."""
    latency = [Latency(count, 30, 1.0, 2.0, ratio) for count, ratio in (speedups or {}).items()]
    quality = _quality(Interval(*kept)) if kept else None
    report = Report(quality, None, [], Size(1000, 100, 2.0), latency, _MACHINE, 1.0)
    return Rung(variant, "0" * 16, Verdict(outcome, "because"), report)  # type: ignore[arg-type]


def ladder(*rungs: Rung) -> dict[str, Rung]:
    return {rung.variant: rung for rung in rungs}


def _quality(kept: Interval) -> Quality:
    auc = Interval(0.8, 0.7, 0.9)
    return Quality(
        100, 10, auc, Interval(1.0, 1.0, 1.0), None, 0.5, 0.9, 0.01, Interval(0.2, 0.1, 0.3), kept, None
    )
