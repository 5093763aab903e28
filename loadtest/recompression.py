"""A recompression beside full load: the service may use both cores, and so may the compressor."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import mean
from typing import Any

from rich.console import Console

from loadtest.admin import Admin
from loadtest.alongside import share_within
from loadtest.bars import RECOMPRESSION_FAILURES, RECOMPRESSION_OPEN_P99, RECOMPRESSION_P99, Bar
from loadtest.compare import material_of
from loadtest.machine import compressor_cpu_seconds
from loadtest.measure import Load, Material, run
from loadtest.peers.ranker import Ranker
from loadtest.prepare import Prepared
from loadtest.scenarios import MIX
from loadtest.servers import Running, started
from loadtest.service import CALIBRATION_SECONDS, Mix, capacity_of, own_place, service
from loadtest.turns import BESIDE, QUIET, Turns

FULL = "full load, closed loop"
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class RecompressionPlan:
    """Which loads, in how many turns."""

    rounds: int = 3
    seconds: float = 10.0
    """Of each load in each turn."""
    mix: Mix = MIX
    connections: int = 8
    share: float = 0.5
    """Of the capacity, for the open loop."""
    workers: int = 2
    cores: frozenset[int] = frozenset({0, 1})
    """Of the workers and the compressor; the generator has one of them too."""
    calibration_seconds: float = CALIBRATION_SECONDS

    def loads(self, capacity: float) -> list[Load]:
        """Everything the service can do, and a share of it at moments that do not wait for answers."""
        opened = Load(
            f"open loop, {self.share:.0%}",
            rates=((self.share * capacity, self.seconds),),
            mix=self.mix,
            exact=False,  # its core is a worker's as well
        )
        return [Load(FULL, connections=self.connections, seconds=self.seconds, mix=self.mix), opened]


def measure_recompression(prepared: Prepared, plan: RecompressionPlan) -> dict[str, Any]:
    """Quiet turns, and turns in which a job is running, one after another."""
    place = own_place(prepared)
    material = material_of(Ranker(str(prepared.folder)), [count for count, _ in plan.mix], 0)
    turns, jobs = Turns(), []
    ours = service(place, workers=plan.workers, compressor=True)
    with started(ours, prepared, material.asks[0], plan.cores) as running:
        admin = Admin(running.port, place.model, place.store / place.model / prepared.variant)
        admin.wait_for_jobs()
        capacity = capacity_of(running, plan.mix, material, plan.calibration_seconds)
        sides: list[tuple[str, Callable[[], AbstractContextManager[dict[str, Any]]]]] = [
            (QUIET, lambda: nullcontext({})),
            (BESIDE, lambda: admin.beside("recompression")),
        ]
        for number in range(plan.rounds):
            for side, beside in sides:
                _CONSOLE.print(f"round {number + 1} of {plan.rounds}: {side}")
                with beside() as notes:
                    windows = [
                        _turn(turns, side, load, (running, material, number)) for load in plan.loads(capacity)
                    ]
                if side == BESIDE:
                    jobs.append(_told(notes, windows))
    running_share = min(one["running_share"] for one in jobs)
    figures: list[tuple[Bar, float | None]] = [
        # Without a job beside it, the figure would be of something else.
        (RECOMPRESSION_P99, turns.p99_ratio(FULL) if running_share > 0 else None),
        *(
            (RECOMPRESSION_OPEN_P99, turns.p99_ratio(load) if running_share > 0 else None)
            for load in turns.loads()
            if load != FULL
        ),
        (RECOMPRESSION_FAILURES, turns.failures()),
    ]
    return {
        "model": place.model,
        "variant": prepared.variant,
        "workers": plan.workers,
        "capacity_per_second": capacity,
        "jobs": jobs,
        **turns.as_json(),
        "bars": [bar.judged(value) for bar, value in figures],
    }


@dataclass(frozen=True)
class _Window:
    """A load's time, and which share of a core the compressor had in it."""

    begin_unix: float
    end_unix: float
    core_share: float


def _turn(turns: Turns, side: str, load: Load, against: tuple[Running, Material, int]) -> _Window:
    running, material, seed = against
    before, begun = compressor_cpu_seconds(running.process.pid), time.perf_counter()
    samples = run(running, load, material, seed=seed)
    # A compressor that was started anew counts from zero: its share is at least this.
    spent = max(0.0, compressor_cpu_seconds(running.process.pid) - before)
    core_share = spent / (time.perf_counter() - begun)
    turns.take(side, load.name, samples)
    to_unix = time.time() - time.perf_counter()
    return _Window(samples.started + to_unix, samples.ended + to_unix, core_share)


def _told(notes: dict[str, Any], windows: list[_Window]) -> dict[str, Any]:
    """What the job did in the turn: the share of the loads' time in which it ran, and of a core that it had."""
    spans = notes.get("running_spans", [])
    told = {name: note for name, note in notes.items() if name != "running_spans"}
    shares = [share_within(spans, one.begin_unix, one.end_unix) for one in windows]
    return {**told, "running_share": mean(shares), "core_share": mean(one.core_share for one in windows)}
