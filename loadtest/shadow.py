"""A shadow beside the load: what it costs the requests, how much of it is dropped, and whether what it exports is true.

Turns without a shadow and turns in which every answer is sampled follow one another, with the same arrivals. Before
them comes the proof: two variants that rank very differently, and so few requests that nearly all are compared.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from loadtest.admin import Admin
from loadtest.bars import SHADOW_FAILURES, SHADOW_IN_TIME, SHADOW_OVERLAP, SHADOW_P99, Bar, failures_of
from loadtest.exported import NOTHING, Exported, exported
from loadtest.fidelity import Alike, alike_of, told_of
from loadtest.measure import Load, Material, run
from loadtest.overload import REJECTIONS, reckon
from loadtest.peers.ours import asking
from loadtest.prepare import Prepared
from loadtest.samples import Samples
from loadtest.scenarios import MIX
from loadtest.servers import Running, started
from loadtest.service import Cores, Mix, capacity_of, material_of_all, own_place, service
from loadtest.turns import BESIDE, QUIET, Turns

ENOUGH = 100
"""Comparisons that a mean is judged by at least: under overload hardly any come about."""
PROOF = "proof"
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
_DRAIN_SECONDS = 60.0
"""How long the answers that were sampled in a turn may take to be counted; waited out only where one is lost."""


@dataclass(frozen=True)
class Pair:
    """The variant that was prepared answers, and `against` is its shadow."""

    prepared: Prepared
    against: str


@dataclass(frozen=True)
class ShadowPlan:
    """Which loads, in how many turns."""

    rounds: int = 5
    shares: tuple[float, ...] = (0.3, 0.7)
    """Of the capacity; the first is the one that the bar of the latency is about."""
    requests: int = 1_200
    """Of each turn at a share: a p99 takes a thousand."""
    over: float = 3.0
    over_seconds: float = 1.5
    over_pairs: int = 2
    """Pairs of turns under overload in a round: the bar is a narrow one, and many short turns tell a ratio better."""
    deadline_ms: float = 25.0
    """Of the requests under overload."""
    proof_rate: float = 40.0
    """Requests per second of the proof."""
    proof_requests: int = 400
    percent: float = 100.0
    """Of the answers that are sampled."""
    mix: Mix = MIX
    connections: int = 128
    """Open before the first request: to open one takes an overloaded server as long as to answer."""
    poll_seconds: float = 0.1
    """How often the worker looks for a new policy, a setting of the service."""
    pause_seconds: float = 0.3
    """After each turn, so that none begins in the wake of another."""
    calibration_seconds: float = 1.0
    """At the beginning of each round: a shared machine changes its speed, and 70% must not become too much."""

    @property
    def overload(self) -> str:
        """The name of the load that is too high."""
        return f"{self.over:g}x the capacity, {self.deadline_ms:g} ms"

    def loads(self, capacity: float) -> list[Load]:
        """What is sent in each round, by either side."""
        rates = {f"{share:.0%} of the capacity": share * capacity for share in self.shares}
        carried = [self._load(name, rate, self.requests / rate) for name, rate in rates.items()]
        over = self._load(self.overload, self.over * capacity, self.over_seconds)
        return carried + [over] * self.over_pairs

    def proof(self) -> Load:
        """What is sent where every comparison should come about."""
        return self._load(PROOF, self.proof_rate, self.proof_requests / self.proof_rate)

    def _load(self, name: str, rate: float, seconds: float) -> Load:
        return Load(name, rates=((rate, seconds),), mix=self.mix, connections=self.connections)


def measure_shadow(pair: Pair, proof: Pair, plan: ShadowPlan, cores: Cores) -> dict[str, Any]:
    """The proof with one pair of variants, then the turns with the other; gives the content of a result file."""
    with _scene(proof, plan, cores) as scene:
        scene.turn(BESIDE, plan.proof(), 0)
        proven = {**_named(proof), **scene.reckoned(PROOF)}
        failed = scene.failures()
    with _scene(pair, plan, cores) as scene:
        capacities = []
        for number in range(plan.rounds):
            _CONSOLE.print(f"round {number + 1} of {plan.rounds}")
            capacities.append(scene.capacity())
            # Who is first changes with the round, so that a drift of the machine falls on both.
            sides = (QUIET, BESIDE) if number % 2 == 0 else (BESIDE, QUIET)
            for pair_number, load in enumerate(plan.loads(capacities[-1])):
                for side in sides:
                    scene.turn(side, load, 100 * number + pair_number)
    turns = scene.turns
    loads = turns.loads()
    shadows = {load: scene.reckoned(load) for load in loads}
    in_time = in_time_ratio(turns, plan.overload)
    figures: list[tuple[Bar, float | None]] = [
        (SHADOW_P99, turns.between_neighbours(loads[0], "p99")),
        (SHADOW_IN_TIME, in_time),
        (SHADOW_FAILURES, failed + scene.failures()),
        (SHADOW_OVERLAP, furthest_overlap([proven, *shadows.values()])),
    ]
    ratios = {load: {p: turns.between_neighbours(load, p) for p in ("p50", "p99")} for load in loads}
    return {
        **_named(pair),
        "plan": asdict(plan),
        "capacities_per_second": capacities,
        **turns.as_json(),
        "ratios": ratios,
        "in_time_ratio": in_time,
        "shadows": shadows,
        PROOF: proven,
        "bars": [bar.judged(value) for bar, value in figures],
    }


@dataclass
class _Told:
    """Of the turns of one load with the shadow: what was exported, and which asks were answered."""

    exported: Exported = NOTHING
    asked: list[np.ndarray] = field(default_factory=list)


@dataclass
class _Scene:
    """One running service, its load, and what came of it."""

    running: Running
    material: Material
    by_ask: Sequence[Alike]
    plan: ShadowPlan
    admin: Admin
    against: str
    turns: Turns = field(default_factory=Turns)
    told: dict[str, _Told] = field(default_factory=dict)

    def set_shadow(self, *, beside: bool) -> None:
        """Set the policy as an operator would, and wait until the worker has it."""
        shadow = {"variant": self.against, "percent": self.plan.percent} if beside else None
        self.admin.set_policy({"kind": "pinned", "variant": self.admin.variant, "shadow": shadow})

    def capacity(self) -> float:
        """Of the service as it is now, without the shadow."""
        self.set_shadow(beside=False)
        return capacity_of(self.running, self.plan.mix, self.material, self.plan.calibration_seconds)

    def turn(self, side: str, load: Load, seed: int) -> None:
        """One load on one side; equal seeds have equal arrivals."""
        plan, running, more = self.plan, self.running, dict[str, Any]()
        self.set_shadow(beside=side == BESIDE)
        if load.name == plan.overload:
            server = asking(running.server, self.admin.variant, plan.deadline_ms)
            running = replace(running, server=server)
        before = self._exported()
        samples = run(running, load, self.material, seed=seed)
        if load.name == plan.overload:
            found = reckon(samples, plan.deadline_ms, {})
            more = {name: found[name] for name in ("offered", "in_time", "in_time_share", "sent_late_ms")}
        if side == BESIDE:
            asked = asked_of(samples)
            now = self._drained(before, len(asked) if plan.percent == 100 else 0)
            more["shadow"] = dict(now.outcomes)
            told = self.told.setdefault(load.name, _Told())
            told.exported = told.exported.and_also(now)
            told.asked.append(asked)
        self.turns.take(side, load.name, samples, **more)
        time.sleep(plan.pause_seconds)

    def reckoned(self, load: str) -> dict[str, Any]:
        """What became of a load's sampled answers; what was exported, and what is true of all its answers."""
        now, asked = self.told[load].exported, np.concatenate(self.told[load].asked)
        compared = now.outcomes.get("compared", 0)
        told = {
            "answers": len(asked),
            "sampled": now.sampled,
            "outcomes": dict(now.outcomes),
            "compared_share": compared / now.sampled if now.sampled else None,
        }
        found = now.told()
        if found is None:
            return {**told, "exported": None, "truth": None, "off": None}
        truth = told_of(self.by_ask, asked, list(found.score_difference))
        return {**told, "exported": found.as_json(), "truth": truth.as_json(), "off": found.off(truth)}

    def failures(self) -> int:
        """Requests without a right answer; what an overloaded service refuses is none."""
        found = 0
        for row in self.turns.rows:
            refused = REJECTIONS if row["load"] == self.plan.overload else ()
            found += failures_of({why: n for why, n in row["outcomes"].items() if why not in refused})
        return found

    def _exported(self) -> Exported:
        return exported(self.admin.port, self.admin.model, self.admin.variant, self.against)

    def _drained(self, before: Exported, sampled: int) -> Exported:
        """What was exported since, once that many answers have an outcome, and no more come."""
        deadline, last = time.monotonic() + _DRAIN_SECONDS, before
        now = self._exported()
        while (now.since(before).sampled < sampled or now != last) and time.monotonic() < deadline:
            time.sleep(0.3)  # longer than the shadow's queue lets one request wait
            last, now = now, self._exported()
        return now.since(before)


@contextmanager
def _scene(pair: Pair, plan: ShadowPlan, cores: Cores) -> Iterator[_Scene]:
    prepared, place = pair.prepared, own_place(pair.prepared)
    material = material_of_all(prepared, [count for count, _ in plan.mix], 0)
    variants = material.by_variant
    if pair.against not in variants:
        known = ", ".join(variants)
        raise SystemExit(f"{place.model} has no active variant {pair.against!r}; there are: {known}")
    by_ask = alike_of(material.asks, variants[prepared.variant], variants[pair.against])
    ours = service(place, environment={"SLIMRANK_POLL_SECONDS": str(plan.poll_seconds)})
    with started(ours, prepared, material.asks[0], cores.server) as running:
        admin = Admin(running.port, place.model, place.store / place.model / prepared.variant)
        yield _Scene(running, material, by_ask, plan, admin, pair.against)


def _named(pair: Pair) -> dict[str, str]:
    prepared = pair.prepared
    return {"model": prepared.place.model, "variant": prepared.variant, "against": pair.against}


def asked_of(samples: Samples) -> np.ndarray:
    """int64 [answers]: the ask of every request that was answered, in time or not: all of them may be sampled."""
    asked: np.ndarray = samples.asks[samples.status == 200]
    return asked


def in_time_ratio(turns: Turns, load: str) -> float | None:
    """Answers in time with the shadow over those without, the median of neighbouring turns."""
    pairs = turns.neighbours(load)
    ratios = [beside["in_time"] / quiet["in_time"] for quiet, beside in pairs if quiet["in_time"]]
    return median(ratios) if pairs and len(ratios) == len(pairs) else None


def furthest_overlap(told: Sequence[Mapping[str, Any]]) -> float | None:
    """How far an exported overlap is from the truth at most, where enough was compared; the proof has to be there."""
    judged = [one for one in told if one["outcomes"].get("compared", 0) >= ENOUGH]
    if not judged or judged[0] is not told[0]:
        return None
    return max(float(one["off"]["overlap_at_10"]) for one in judged)
