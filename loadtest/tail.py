"""The tail of an open loop at 70% of what fp32 can do: fp32 alone, and the ladder with a deadline, in turns.

A queue that keeps its order and does every request's whole work has a tail that its load decides (`ideal_queue`). A
ladder need not: what would come too late is answered by a cheaper variant, so the deadline decides.
"""

import math
import time
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from rich.console import Console

from loadtest.bars import TAIL_FAILURES, TAIL_IN_TIME, TAIL_LADDER, failures_of, ratio
from loadtest.ideal_queue import ideal_of
from loadtest.measure import Load, run
from loadtest.overload import AUTO, BASELINE, reckon
from loadtest.overload_bars import REJECTIONS
from loadtest.peers.ours import asking
from loadtest.prepare import Prepared
from loadtest.scenarios import MIX
from loadtest.servers import Running, started
from loadtest.service import Cores, Mix, capacity_of, known_variants, material_of_all, own_place, service

_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Form:
    """What is asked for, and the deadline that the service is told; None: its own default."""

    variant: str
    deadline_ms: float | None = None

    @property
    def name(self) -> str:
        """For a person."""
        whose = "fp32 only" if self.variant == BASELINE else "ladder"
        return whose if self.deadline_ms is None else f"{whose}, told {self.deadline_ms:g} ms"


@dataclass(frozen=True)
class TailPlan:
    """How much of the capacity of fp32, for how long, and with which deadlines."""

    rounds: int = 4
    seconds: float = 20.0
    """Of each form in each round."""
    share: float = 0.7
    deadlines_ms: tuple[float, ...] = (25.0, 10.0)
    """That the ladder is told. The bar is about the last one, which fp32 alone is told as well."""
    mix: Mix = MIX
    connections: int = 128
    """Open, and answered once, before the first request: to open one is work too."""
    pause_seconds: float = 1.0
    calibration_seconds: float = 4.0

    @property
    def forms(self) -> tuple[Form, ...]:
        """All that take turns; the last one is judged."""
        ladder = [Form(AUTO, deadline) for deadline in self.deadlines_ms]
        return (Form(BASELINE), Form(BASELINE, self.deadlines_ms[-1]), *ladder)

    def load(self, capacity: float) -> Load:
        """What every form is sent in a round with that capacity of fp32."""
        rates = ((self.share * capacity, self.seconds),)
        return Load("tail", rates=rates, connections=self.connections, mix=self.mix, proven=True)


def measure_tail(prepared: Prepared, plan: TailPlan, cores: Cores) -> dict[str, Any]:
    """In each round the capacity of fp32, then every form with the same arrivals; gives a result file's content."""
    place = own_place(prepared)
    material = material_of_all(prepared, [count for count, _ in plan.mix], 0)
    turns, ideal = [], []
    with started(service(place), prepared, material.asks[0], cores.server) as running:
        ndcg = {name: one.ndcg_at_10 for name, one in known_variants(running).items()}
        fp32 = replace(running, server=asking(running.server, BASELINE))
        for number in range(plan.rounds):
            capacity = capacity_of(fp32, plan.mix, material, plan.calibration_seconds)
            load = plan.load(capacity)
            _CONSOLE.print(f"round {number + 1} of {plan.rounds}, capacity {capacity:.0f}/s")
            ideal.append(ideal_of(load, material, number, {plan.mix: capacity}))
            # Who comes first changes with the round, so that a drift of the machine falls on all.
            shift = number % len(plan.forms)
            for form in plan.forms[shift:] + plan.forms[:shift]:
                samples = run(_asked(running, form), load, material, seed=number)
                found = reckon(samples, form.deadline_ms or math.inf, ndcg)
                turns.append({"form": form.name, "round": number, "capacity_per_second": capacity, **found})
                time.sleep(plan.pause_seconds)
    return {
        "model": place.model,
        "plan": {**asdict(plan), "forms": [form.name for form in plan.forms]},
        "ideal_latency_ms": ideal,
        "turns": turns,
        "bars": _judged([one for one in turns if one["form"] == plan.forms[-1].name]),
    }


def tail_of(turns: list[dict[str, Any]]) -> float | None:
    """p99 over p50, the median of turns; None where one of them has none."""
    found = [ratio(one["latency_ms"].get("p99"), one["latency_ms"].get("p50")) for one in turns]
    known = [one for one in found if one is not None]
    return median(known) if known and len(known) == len(found) else None


def _judged(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    in_time = sum(one["in_time"] for one in turns) / sum(one["offered"] for one in turns)
    failed = sum(
        failures_of({why: count for why, count in one["outcomes"].items() if why not in REJECTIONS})
        for one in turns
    )
    return [
        TAIL_LADDER.judged(tail_of(turns)),
        TAIL_IN_TIME.judged(in_time),
        TAIL_FAILURES.judged(failed),
    ]


def _asked(running: Running, form: Form) -> Running:
    return replace(running, server=asking(running.server, form.variant, form.deadline_ms))
