"""More requests than the service can answer, each with a deadline: how many are answered in time, how fast the others
are refused, and how good the answers are.

Forms of one service take turns at every load: the fp32 graph only, told a deadline and not, each smaller variant
only, and whatever the service chooses. The offered rate is the same for all, so that their curves can be laid over each
other.
"""

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from rich.console import Console

from loadtest.measure import Load, Material, as_json, run
from loadtest.overload_bars import FP32, LADDER, NO_DEADLINE, REJECTIONS, against, judged, judged_curve
from loadtest.peers.ours import asking
from loadtest.prepare import Prepared
from loadtest.samples import Samples, percentiles_ms
from loadtest.scenarios import ONE_HUNDRED
from loadtest.servers import Running, started
from loadtest.service import (
    Cores,
    Known,
    Mix,
    capacity_of,
    known_variants,
    material_of_all,
    own_place,
    service,
)

AUTO, BASELINE = "auto", "baseline"
_NO_DEADLINE_MS = 3_600_000.0
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class OverloadPlan:
    """Which loads, as multiples of the capacity, and for how long."""

    loads: tuple[float, ...] = (0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0)
    rounds: int = 2
    """Turns of each form at each load."""
    seconds: float = 6.0
    pause_seconds: float = 1.0
    """After each turn, so that none begins in the wake of another."""
    bar_load: float = 3.0
    bar_seconds: float = 60.0
    """Of each form at `bar_load` times its capacity, and of the ladder at that of fp32 as well; 0: not measured."""
    deadline_ms: float = 25.0
    mix: Mix = ONE_HUNDRED
    connections: int = 128
    """Open, and answered once, before the first request: to open one is work for an overloaded server."""
    calibration_seconds: float = 3.0
    capacity_of: str = LADDER
    """The form whose capacity the loads are multiples of."""


def measure_overload(prepared: Prepared, plan: OverloadPlan, cores: Cores) -> dict[str, Any]:
    """Capacities, then the curve, then the bar."""
    place = own_place(prepared)
    material = material_of_all(prepared, [count for count, _ in plan.mix], 0)
    with started(service(place), prepared, material.asks[0], cores.server) as running:
        known = known_variants(running)
        forms = forms_of(known)
        by_variant = _by_variant(running, forms, plan, material)
        capacities = {form: by_variant[variant] for form, variant in forms.items()}
        # The ladder's capacity is that of the fastest variant it may choose, whatever it chose in a closed loop.
        capacities[LADDER] = max(by_variant.values())
        _CONSOLE.print(
            f"capacities: {', '.join(f'{form} {rate:.0f}/s' for form, rate in capacities.items())}"
        )
        measure = _Measure(running, plan, material, known)
        curve = []
        for number, (turn, load) in enumerate(product(range(1, plan.rounds + 1), plan.loads)):
            for form in _shuffled(list(forms), number):
                rate = load * capacities[plan.capacity_of]
                found = measure.turn(form, forms[form], rate, plan.seconds, number)
                curve.append({"form": form, "load": load, "turn": turn, **against(found, capacities[form])})
        bar = []
        fastest = max(by_variant, key=by_variant.__getitem__)
        for form, whose in _bar_turns(forms) if plan.bar_seconds else ():
            judge = fastest if whose == LADDER else forms[whose]
            before = measure.capacity(judge)
            found = measure.turn(form, forms[form], plan.bar_load * before, plan.bar_seconds, 99)
            # The machine's speed drifts: a capacity of some minutes ago is not what can be done now.
            capacity = (before + measure.capacity(judge)) / 2
            bar.append({"form": form, "capacity_of": whose, "capacity": capacity, **against(found, capacity)})
    return {
        "model": place.model,
        "plan": asdict(plan),
        "forms": forms,
        "variants": {name: asdict(one) for name, one in known.items()},
        "capacity_by_variant": by_variant,
        "capacities": capacities,
        "curve": curve,
        "at_the_bar": bar,
        "bars": [*(one for found in bar for one in judged(found)), *judged_curve(curve)],
    }


@dataclass(frozen=True)
class _Measure:
    running: Running
    plan: OverloadPlan
    material: Material
    known: Mapping[str, Known]

    def capacity(self, variant: str) -> float:
        """Of a variant, as the machine is now."""
        asked = replace(self.running, server=asking(self.running.server, variant))
        return capacity_of(asked, self.plan.mix, self.material, self.plan.calibration_seconds)

    def turn(self, form: str, variant: str, rate: float, seconds: float, seed: int) -> dict[str, Any]:
        """One open loop at a rate, reckoned; the deadline is the client's alone where the form is told none."""
        told_ms = _NO_DEADLINE_MS if form == NO_DEADLINE else self.plan.deadline_ms
        load = Load(
            "overload",
            rates=((rate, seconds),),
            connections=self.plan.connections,
            mix=self.plan.mix,
            proven=True,
        )
        server = asking(self.running.server, variant, told_ms)
        samples = run(replace(self.running, server=server), load, self.material, seed=seed)
        found = reckon(
            samples, self.plan.deadline_ms, {name: one.ndcg_at_10 for name, one in self.known.items()}
        )
        _CONSOLE.print(f"{form} at {rate:.0f}/s: {found['in_time_share']:.1%} in time")
        time.sleep(self.plan.pause_seconds)
        return {"asked": variant, "rate": rate, "in_time_per_second": found["in_time"] / seconds, **found}


def reckon(samples: Samples, deadline_ms: float, ndcg: Mapping[str, float | None]) -> dict[str, Any]:
    """What a client sees of a run: everything counts from the moment when a request was meant to be sent."""
    offered, took = int(samples.offered().sum()), samples.took_ms()
    in_time = samples.right() & (took <= deadline_ms)
    by_variant = Counter(samples.origins[number][0] for number in np.flatnonzero(in_time).tolist())
    worth = {name: ndcg.get(name) for name in by_variant}
    gained = (
        None if None in worth.values() else sum(by_variant[name] * float(worth[name] or 0) for name in worth)
    )
    lag = (samples.sent - samples.intended)[samples.offered()] * 1e3
    return {
        **as_json(samples),
        "offered": offered,
        "in_time": int(in_time.sum()),
        "in_time_share": float(in_time.sum() / offered),
        "in_time_by_variant": dict(by_variant),
        "late": int((samples.right() & ~in_time).sum()),
        "effective_ndcg_at_10": None if gained is None else gained / offered,
        "rejections": {status: _rejected(samples, took, int(status)) for status in REJECTIONS},
        "sent_late_ms": percentiles_ms(lag[~np.isnan(lag)]),
    }


def _rejected(samples: Samples, took: np.ndarray, status: int) -> dict[str, Any]:
    chosen = samples.offered() & (samples.status == status)
    return {"count": int(chosen.sum()), "latency_ms": percentiles_ms(took[chosen])}


def forms_of(known: Mapping[str, Known]) -> dict[str, str]:
    """What is asked for, by the form's name; of the smaller variants those that `auto` may take, the best first."""
    smaller = [name for name, one in known.items() if one.active and one.may_serve and name != BASELINE]
    smaller.sort(key=lambda name: -(known[name].ndcg_at_10 or 0.0))
    return {FP32: BASELINE, NO_DEADLINE: BASELINE, **{f"{name} only": name for name in smaller}, LADDER: AUTO}


def _bar_turns(forms: Mapping[str, str]) -> list[tuple[str, str]]:
    """A form, and the form whose capacity is exceeded. The ladder's own is that of its fastest rung."""
    alone = [(form, form) for form in forms if form not in (LADDER, NO_DEADLINE)]
    return [*alone, (LADDER, FP32), (LADDER, LADDER)]


def _by_variant(
    running: Running, forms: Mapping[str, str], plan: OverloadPlan, material: Material
) -> dict[str, float]:
    """The closed loop's rate of each form."""
    found = {}
    for variant in dict.fromkeys(forms.values()):
        asked = replace(running, server=asking(running.server, variant))
        found[variant] = capacity_of(asked, plan.mix, material, plan.calibration_seconds)
    return found


def _shuffled(forms: list[str], number: int) -> list[str]:
    random.Random(number).shuffle(forms)  # noqa: S311  (an order, not a secret)
    return forms
