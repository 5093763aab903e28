"""Which variant answers: by the model's policy, among what is active, and honest about it when something else must."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.active import State
from app.errors import NotReady, UnknownVariant
from app.model_card import AUTO, BASELINE
from app.report import Report, Verdict


@dataclass(frozen=True)
class Rung:
    """What is known of an active variant before it is loaded."""

    variant: str
    version: str
    verdict: Verdict
    report: Report

    def speedup_at(self, candidates: int) -> float:
        """How many times as fast as the baseline, at the nearest candidate count that was measured.

        Ratios are compared, not times: both sides of a ratio were timed in turns, on the machine as it was then.
        """
        if self.variant == BASELINE or not self.report.latency:
            return 1.0
        return min(self.report.latency, key=lambda one: abs(one.candidates - candidates)).speedup


@dataclass(frozen=True)
class Choice:
    """The variant that answers, and why it is not the policy's first choice, if it is not."""

    variant: str
    degraded_reason: str | None = None


def choose(
    wanted: str, state: State, rungs: Mapping[str, Rung], loaded: frozenset[str], candidates: int
) -> Choice:
    """The variant for a request of so many candidates, among what is active by `state`.

    `rungs` has what could be read of the active variants. A name asks for that variant and no other. Raises
    UnknownVariant for a name that is not active, and NotReady when what is active is not loaded.
    """
    if wanted != AUTO:
        return _by_name(wanted, state.versions, loaded)
    if not loaded:
        raise NotReady("no variant of the model is loaded yet; try again soon")
    pinned = state.policy.variant if state.policy.kind == "pinned" else None
    first = pinned or _cheapest(state.versions.keys(), rungs, candidates)
    if first in loaded:
        return Choice(first)
    instead = _cheapest(loaded, rungs, candidates)
    return Choice(instead, f"variant {first!r} is not loaded, so {instead!r} answered")


def _by_name(wanted: str, active: Collection[str], loaded: frozenset[str]) -> Choice:
    if wanted in loaded:
        return Choice(wanted)
    if wanted in active:
        raise NotReady(f"variant {wanted!r} is active but not loaded; try again soon", variant=wanted)
    known = ", ".join(sorted(active)) or "none"
    raise UnknownVariant(f"no variant {wanted[:100]!r} is active; there are: {known}", variant=wanted[:100])


def _cheapest(names: Collection[str], rungs: Mapping[str, Rung], candidates: int) -> str:
    """The fastest of those that may serve; the baseline on a tie, and where nothing may."""
    usable = [rung for name, rung in rungs.items() if name in names and rung.verdict.may_serve]
    best = max(usable, key=lambda rung: rung.speedup_at(candidates), default=None)
    if best is not None and (best.speedup_at(candidates) > 1.0 or BASELINE not in names):
        return best.variant
    return BASELINE if BASELINE in names else min(names, default=BASELINE)
