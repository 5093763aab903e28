"""Hot swaps under load: one version after another becomes active, as fast as the worker takes them up."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from rich.console import Console

from loadtest.admin import Admin
from loadtest.alongside import Side, alongside
from loadtest.bars import SWAPS_COUNT, SWAPS_FAILURES, SWAPS_MEMORY, SWAPS_P99, Bar
from loadtest.compare import material_of
from loadtest.machine import resident_of_tree
from loadtest.measure import Load, run
from loadtest.peers.ranker import Ranker
from loadtest.prepare import Prepared
from loadtest.samples import Samples
from loadtest.scenarios import MIX
from loadtest.servers import started
from loadtest.service import CALIBRATION_SECONDS, Cores, Mix, capacity_of, own_place, service
from loadtest.turns import BESIDE, QUIET, Turns

_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
_TAKE_UP_SECONDS = 30.0


@dataclass(frozen=True)
class SwapPlan:
    """How many swaps, beside which load."""

    count: int = 1000
    share: float = 0.3
    """Of the capacity."""
    mix: Mix = MIX
    turn_seconds: float = 10.0
    """Of each quiet and each swapping turn."""
    most_turns: int = 120
    """Of each side: ends the run when the worker takes versions up too slowly."""
    poll_seconds: float = 0.05
    """How often the worker looks for new versions, a setting of the service."""
    look_seconds: float = 0.02
    """How often readiness is asked which version is loaded, in the quiet turns too."""
    settle_seconds: float = 10.0
    """Before resident memory is looked at."""
    calibration_seconds: float = CALIBRATION_SECONDS


class Swapper:
    """Swaps between versions, and waits until each has been taken up."""

    def __init__(self, admin: Admin, versions: list[str], plan: SwapPlan) -> None:
        self._admin, self._versions, self._plan = admin, versions, plan
        self.seconds: list[float] = []
        """From each activation until the worker had the version loaded."""

    def look(self, side: Side) -> None:
        """What a quiet turn has beside its load: the same questions without a swap."""
        side.begun.set()
        while not side.stop.wait(self._plan.look_seconds):
            self._admin.loaded_version()

    def swap(self, side: Side) -> None:
        """Swap until the turn or the count ends. Raises TimeoutError when a version is not taken up."""
        side.begun.set()
        while not side.stop.is_set() and len(self.seconds) < self._plan.count:
            wanted = self._versions[len(self.seconds) % len(self._versions)]
            activated = time.perf_counter()
            self._admin.activate(wanted)
            while self._admin.loaded_version() != wanted:
                if time.perf_counter() - activated > _TAKE_UP_SECONDS:
                    raise TimeoutError(f"version {wanted} was not taken up in {_TAKE_UP_SECONDS:.0f} s")
                time.sleep(self._plan.look_seconds)
            self.seconds.append(time.perf_counter() - activated)


def measure_swaps(prepared: Prepared, plan: SwapPlan, cores: Cores) -> dict[str, Any]:
    """Quiet turns and swapping turns one after another, until all swaps are done."""
    place = own_place(prepared)
    material = material_of(Ranker(str(prepared.folder)), [count for count, _ in plan.mix], 0)
    ours = service(place, compressor=True, environment={"SLIMRANK_POLL_SECONDS": str(plan.poll_seconds)})
    turns, changes, errors = Turns(), 0, []
    with started(ours, prepared, material.asks[0], cores.server) as running:
        admin = Admin(running.port, place.model, place.store / place.model / prepared.variant)
        admin.wait_for_jobs()
        swapper = Swapper(admin, _others_first(admin), plan)
        capacity = capacity_of(running, plan.mix, material, plan.calibration_seconds)
        load = Load("open", rates=((plan.share * capacity, plan.turn_seconds),), mix=plan.mix)

        def turn(side: str, work: Callable[[Side], None], seed: int) -> Samples:
            with alongside(work) as notes:
                samples = run(running, load, material, seed=seed)
            turns.take(side, load.name, samples, swaps=len(swapper.seconds))
            errors.extend([notes["error"]] if "error" in notes else [])
            return samples

        turn(QUIET, swapper.look, 0)
        time.sleep(plan.settle_seconds)
        before = resident_of_tree(running.process.pid)
        for number in range(1, plan.most_turns):
            changes += version_changes(turn(BESIDE, swapper.swap, 2 * number))
            turn(QUIET, swapper.look, 2 * number + 1)
            _CONSOLE.print(f"{len(swapper.seconds):,} of {plan.count:,} swaps")
            if len(swapper.seconds) >= plan.count or errors:
                break
        time.sleep(plan.settle_seconds)
        after = resident_of_tree(running.process.pid)
    figures: list[tuple[Bar, float | None]] = [
        (SWAPS_COUNT, len(swapper.seconds)),
        (SWAPS_FAILURES, turns.failures()),
        (SWAPS_P99, turns.p99_ratio(load.name)),
        (SWAPS_MEMORY, after / before - 1),
    ]
    return {
        "model": place.model,
        "variant": prepared.variant,
        "capacity_per_second": capacity,
        "share": plan.share,
        "swaps": len(swapper.seconds),
        "take_up_seconds": {"median": median(swapper.seconds), "max": max(swapper.seconds)}
        if swapper.seconds
        else {},
        "changes_in_answers": changes,
        "errors": errors,
        "resident_bytes": {"before": before, "after": after},
        **turns.as_json(),
        "bars": [bar.judged(value) for bar, value in figures],
    }


def version_changes(samples: Samples) -> int:
    """How often the version changed from one answer to the next, in the order of the answers."""
    order = sorted(samples.origins, key=lambda number: float(samples.answered[number]))
    return sum(samples.origins[a] != samples.origins[b] for a, b in pairwise(order))


def _others_first(admin: Admin) -> list[str]:
    """The versions to go through, the loaded one last: the first swap is one already."""
    versions, loaded = admin.make_second_version(), admin.loaded_version()
    return [one for one in versions if one != loaded] + [one for one in versions if one == loaded]
