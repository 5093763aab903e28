"""Rungs of a ladder with the figures that a test wants."""

from collections.abc import Mapping

from app.report import Latency, Machine, Report, Size, Verdict
from app.serving.ladder import Rung

_MACHINE = Machine("a processor", ["avx2"], 2, 2**30, "6.1", "1.32")


def a_rung(variant: str, outcome: str = "passed", speedups: Mapping[int, float] | None = None) -> Rung:
    """A rung with these speed-ups by candidate count."""
    latency = [Latency(count, 30, 1.0, 2.0, ratio) for count, ratio in (speedups or {}).items()]
    report = Report(None, None, [], Size(1000, 100, 2.0), latency, _MACHINE, 1.0)
    return Rung(variant, "0" * 16, Verdict(outcome, "because"), report)  # type: ignore[arg-type]


def ladder(*rungs: Rung) -> dict[str, Rung]:
    return {rung.variant: rung for rung in rungs}
