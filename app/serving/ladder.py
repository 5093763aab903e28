"""Which variant answers: by the model's policy, among what is active, and honest about it when something else must.

The ladder has the best variant on top and what is cheaper and measurably worse below. At rest the top answers; it steps
down when the load would be too much for a rung or a request's deadline too near, and up again when there is room. As
many requests as there is room for are answered by the rung above.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.active import State
from app.errors import NotReady, UnknownVariant
from app.model_card import AUTO, BASELINE
from app.report import Interval, Report, Verdict
from app.serving.even_sample import EvenSample

_STEP_DOWN_ABOVE = 0.90
_STEP_UP_BELOW = 0.70
_FILL_UP_TO = 0.8
"""What a rung leaves of a worker's time, up to this share, goes to requests that the rung above answers."""
_HOLD_SECONDS = 1.0
"""Between these shares of a worker's time, and for so long after a step, nothing changes: the ladder must not flap."""
_SETTLE_SECONDS = 0.005
_LEAST_ROOM = 0.01
_CLEARLY_MORE = 1.1
_AS_CHEAP = 0.9
"""A rung that takes more than this of another's time saves nothing that is worth a difference in quality."""
_MOST_REMEMBERED = 4096
_SAME = Interval(1.0, 1.0, 1.0)


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

    @property
    def kept(self) -> Interval | None:
        """The share of the baseline's NDCG@10 that it keeps, or of its AUC; None where neither was measured."""
        if self.variant == BASELINE:
            return _SAME
        quality = self.report.quality
        if quality is None:
            return None
        return quality.ndcg_at_10_ratio or quality.auc_ratio


@dataclass(frozen=True)
class Choice:
    """The variant that answers, and why it is not the policy's first choice, if it is not."""

    variant: str
    degraded_reason: str | None = None
    is_open: bool = True
    """Whether the ladder had a say in it: a variant that is named or the canary's is the same under any load."""


class Pressure(Protocol):
    """What the ladder asks of the present load."""

    def utilizations(self, variants: Sequence[str]) -> list[float]:
        """The share of a worker's time that all requests whose variant is open would take on each variant."""

    def taken_share(self) -> float:
        """The share that requests take whose variant is not the ladder's to choose, and those of other models."""

    def meets(self, variant: str) -> bool:
        """Whether this variant should answer the request in time."""

    def queue_is_short(self) -> bool:
        """Whether it waits for less than half of the time that is left."""

    def saves(self, variant: str, instead_of: str) -> bool:
        """Whether this variant is so much faster for the request that it matters to its deadline."""


class Level:
    """How many rungs below the top a model answers at present."""

    def __init__(self) -> None:
        self.steps = 0
        self._changed_at = float("-inf")
        self._lifted = EvenSample()

    def settle(
        self,
        utilizations: Sequence[float],
        worths: Sequence[float],
        taken: float = 0.0,
        now: float | None = None,
    ) -> int:
        """The level, given what share of a worker's time the present load would take on each rung, and the quality of
        each, top first; `taken` is the share that is not the ladder's.

        Down at once, to the rung whose answers are worth the most together: one that can answer little more than the
        rung above it, and worse, is passed over. Up one rung at a time, and only to one with room to spare, or whose
        answers are worth clearly more, or that takes about the same time.
        """
        now = time.perf_counter() if now is None else now
        lowest = len(utilizations) - 1
        before = steps = min(self.steps, lowest)
        room = max(_STEP_DOWN_ABOVE - taken, _LEAST_ROOM)
        gains = [
            worth * (1.0 if utilization <= room else room / utilization)
            for worth, utilization in zip(worths, utilizations, strict=True)
        ]
        if utilizations[steps] > room:
            for rung in range(steps + 1, lowest + 1):
                if utilizations[rung] < _AS_CHEAP * utilizations[steps] and gains[rung] > gains[steps]:
                    steps = rung
        held = now - self._changed_at < _HOLD_SECONDS
        if steps == before and steps and not held:
            above = steps - 1
            as_cheap = utilizations[steps] > _AS_CHEAP * utilizations[above] and gains[above] > gains[steps]
            has_room = utilizations[above] + taken < _STEP_UP_BELOW
            if has_room or as_cheap or gains[above] > _CLEARLY_MORE * gains[steps]:
                steps = above
        if steps != before:
            self._changed_at = now
            self.steps = steps  # else it stays: a size with fewer rungs says nothing of the others' level
        return steps

    def lifts(self, utilizations: Sequence[float], taken: float = 0.0) -> bool:
        """Whether the next request goes to the rung above the present one, which could not answer all of them.

        As many do as there is room for: with a share p above, a worker's time is taken by p u' + (1 - p) u.
        """
        steps = min(self.steps, len(utilizations) - 1)
        if steps < 1:
            return False
        here, above = utilizations[steps], utilizations[steps - 1]
        room = _FILL_UP_TO - taken - here
        if room <= 0 or above <= here:
            return False
        return self._lifted.takes(room / (above - here))


class Ladder:
    """The choice among the variants of one model, as they are active and loaded.

    `rungs` has what could be read of the active variants.
    """

    def __init__(
        self,
        state: State,
        rungs: Mapping[str, Rung],
        loaded: Collection[str],
        level: Level | None = None,
        settle_seconds: float = _SETTLE_SECONDS,
    ) -> None:
        self._state = state
        self._rungs = rungs
        self._loaded = frozenset(loaded)
        self.level = level or Level()
        self._settle_seconds = settle_seconds
        self._settle_at = 0.0
        self._settled_for: list[str] = []
        self._utilizations: list[float] = []
        self._taken = 0.0
        self._auto: dict[int, tuple[list[str], str | None]] = {}
        self._degraded_choices: dict[tuple[str, str, bool], Choice] = {}

    def choose(self, wanted: str, candidates: int, pressure: Pressure) -> Choice:
        """The variant for a request of so many candidates. A name asks for that variant and no other.

        Raises UnknownVariant for a name that is not active, and NotReady when what is active is not loaded.
        """
        if wanted != AUTO:
            return self._by_name(wanted)
        names, reason = self.rungs_of_auto(candidates)
        last = len(names) - 1
        if not last:
            return Choice(names[0], reason)
        level = self._settled(names, pressure)
        index = level
        # A burst is over before the load shows it: while the queue is long, nothing that is slow is put into it.
        if level and self.level.lifts(self._utilizations, self._taken) and pressure.queue_is_short():
            index -= 1
        if index < last:
            index = _lower(names, index, pressure)
        if not index:
            return Choice(names[0], reason)
        return self._degraded(names[0], names[index], under_load=level > 0)

    def _degraded(self, first: str, answers: str, *, under_load: bool) -> Choice:
        """Kept: under overload there are thousands a second."""
        choice = self._degraded_choices.get((first, answers, under_load))
        if choice is None:
            told = f"{first!r} would be late{' under this load' if under_load else ''}"
            choice = Choice(answers, f"{told}, so {answers!r} answered")
            self._degraded_choices[first, answers, under_load] = choice
        return choice

    def _settled(self, names: list[str], pressure: Pressure) -> int:
        """The level; looked at anew some hundred times a second, and not for every request of thousands."""
        now = time.perf_counter()
        if now >= self._settle_at or names != self._settled_for:
            self._settle_at, self._settled_for = now + self._settle_seconds, names
            self._utilizations, self._taken = pressure.utilizations(names), pressure.taken_share()
            worths = [self._worth(name) for name in names]
            self.level.settle(self._utilizations, worths, self._taken, now)
        return min(self.level.steps, len(names) - 1)

    def rungs_of_auto(self, candidates: int) -> tuple[list[str], str | None]:
        """The loaded variants that `auto` may take, first choice first, and why that is not what it should be."""
        found = self._auto.get(candidates)
        if found is None:
            if len(self._auto) >= _MOST_REMEMBERED:
                self._auto.clear()
            found = self._auto[candidates] = self._find(candidates)
        return found

    def _worth(self, name: str) -> float:
        rung = self._rungs.get(name)
        kept = rung.kept if rung is not None else None
        return (kept or _SAME).value

    def _find(self, candidates: int) -> tuple[list[str], str | None]:
        if not self._loaded:
            raise NotReady("no variant of the model is loaded yet; try again soon")
        policy = self._state.policy
        if policy.kind == "pinned" and policy.variant:
            first, ladder = policy.variant, [policy.variant]
        else:
            ladder = self._ladder(self._state.versions.keys(), candidates)
            first = ladder[0]
        if first in self._loaded:
            return [name for name in ladder if name in self._loaded], None
        instead = self._ladder(self._loaded, candidates)
        return instead, f"variant {first!r} is not loaded, so {instead[0]!r} answered"

    def _ladder(self, names: Collection[str], candidates: int) -> list[str]:
        """Variants that may serve, best quality first, each cheaper than all before it.

        Of those that measurements cannot tell from the best the fastest stands for all, and the baseline on a tie.
        Below it every difference counts: with more rungs there is more to choose from, and the load decides. A variant
        whose quality was not measured counts as good as the baseline, which its gate compared it to.
        """
        left = {
            name: rung
            for name in names
            if (rung := self._rungs.get(name)) is not None and rung.verdict.may_serve
        }
        speeds = {name: rung.speedup_at(candidates) for name, rung in left.items()}
        kept = {name: rung.kept or _SAME for name, rung in left.items()}
        if BASELINE in names:  # it is a rung even when nothing of it can be read
            speeds[BASELINE], kept[BASELINE] = 1.0, _SAME
        found: list[str] = []
        while speeds:
            best = max(kept[name].value for name in speeds)
            equal = [name for name in speeds if (kept[name].value if found else kept[name].high) >= best]
            chosen = max(equal, key=lambda name: (speeds[name], name == BASELINE))
            found.append(chosen)
            speeds = {
                name: speed for name, speed in speeds.items() if name not in equal and speed > speeds[chosen]
            }
        return found or [min(names, default=BASELINE)]

    def _by_name(self, wanted: str) -> Choice:
        if wanted in self._loaded:
            return Choice(wanted, is_open=False)
        active = self._state.versions
        if wanted in active:
            raise NotReady(f"variant {wanted!r} is active but not loaded; try again soon", variant=wanted)
        known = ", ".join(sorted(active)) or "none"
        raise UnknownVariant(
            f"no variant {wanted[:100]!r} is active; there are: {known}", variant=wanted[:100]
        )


def _lower(names: Sequence[str], index: int, pressure: Pressure) -> int:
    """The rung for a request when the queue is long, or this one too slow for it.

    The next one that is in time and much faster. Of two that are about as fast a second graph would only keep requests
    from being run together. The lowest of the faster where none is in time.
    """
    faster = [rung for rung in range(index + 1, len(names)) if pressure.saves(names[rung], names[index])]
    if not faster or (pressure.queue_is_short() and pressure.meets(names[index])):
        return index
    return next((rung for rung in faster if pressure.meets(names[rung])), faster[-1])
