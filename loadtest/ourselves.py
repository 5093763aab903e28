"""Our own service through every scenario, with what an operator would do beside it."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from loadtest.admin import KEY, Admin
from loadtest.asks import Ask
from loadtest.compare import material_of
from loadtest.measure import Load, Material, as_json, run
from loadtest.peers.ours import SERVER
from loadtest.peers.ranker import Ranker
from loadtest.prepare import SLIMRANK, WORK, Place, Prepared
from loadtest.scenarios import ONE_HUNDRED, Scenario, counts_of
from loadtest.servers import Running, Server, ask_once, started

CALIBRATION_SECONDS = 4.0
COLD_STARTS = 5
_COLD_LOAD = Load("cold start", rates=((100.0, 1.0),), mix=ONE_HUNDRED)
_RECOVERY_SECONDS = 2.0
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Cores:
    """Which core does what; the compressor shares the server's, as it would on a small machine."""

    server: int = 1
    client: int = 0


def run_scenarios(prepared: Prepared, scenarios: tuple[Scenario, ...], cores: Cores) -> dict[str, Any]:
    """Every scenario against a service with a store of its own, one after another.

    Requests name the variant, so that every answer can be held against that graph.
    """
    place = _own_place(prepared.place)
    material = material_of(Ranker(str(prepared.folder)), counts_of(scenarios), 0)
    found: dict[str, Any] = {}
    with started(_service(place), prepared, material.asks[0], cores.server) as running:
        admin = Admin(running.port, place.model, place.store / place.model / prepared.variant)
        admin.wait_for_jobs()
        capacities: dict[Any, float] = {}
        for scenario in scenarios:
            if scenario.mix not in capacities:
                capacities[scenario.mix] = _capacity(running, scenario, material)
            capacity = capacities[scenario.mix]
            _CONSOLE.print(f"{scenario.name}: {scenario.what} (capacity {capacity:.0f}/s)")
            found[scenario.name] = _measured(scenario, capacity, running, admin, material)
    return {"model": place.model, "variant": prepared.variant, "scenarios": found}


def cold_starts(prepared: Prepared, cores: Cores) -> dict[str, Any]:
    """Start the service again and again: how soon it answers, and how its first second of load goes."""
    material = material_of(Ranker(str(prepared.folder)), (100,), 0)
    starts, worst = [], []
    for number in range(COLD_STARTS):
        _CONSOLE.print(f"cold start {number + 1} of {COLD_STARTS}")
        with started(SERVER, prepared, material.asks[0], cores.server) as running:
            starts.append(running.start_seconds)
            worst.append(as_json(run(running, _COLD_LOAD, material, seed=number)))
    return {
        "start_seconds": {"median": median(starts), "min": min(starts), "max": max(starts)},
        "first_second": {
            "requests": sum(one["requests"] for one in worst),
            "failures": sum(_failures(one) for one in worst),
            "longest_ms": max(one["latency_ms"].get("max", 0.0) for one in worst),
        },
    }


def _measured(
    scenario: Scenario, capacity: float, running: Running, admin: Admin, material: Material
) -> dict[str, Any]:
    before = running.memory()
    with admin.beside(scenario.beside) as notes:
        samples = run(running, scenario.load(capacity), material, seed=1)
    return {
        "what": scenario.what,
        "capacity_per_second": capacity,
        **as_json(samples),
        "memory_before": before,
        "memory_after": running.memory(),
        "beside": notes,
        "probe_ms_after": _probe(running, material.asks[0]),
    }


def _service(place: Place) -> Server:
    """One worker with an admin key and a compressor."""

    def command(_: Path, port: int) -> list[str]:
        flags = ("--port", port, "--store", place.store, "--models", place.models, "--workers", 1)
        return [str(SLIMRANK), "serve", *map(str, flags)]

    return replace(SERVER, command=command, environment={"SLIMRANK_ADMIN_KEY": KEY})


def _own_place(place: Place) -> Place:
    """A copy of the store, so that recompression leaves the original alone."""
    target = WORK / "scenarios"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(place.store / place.model, target / place.model)
    return replace(place, store=target)


def _capacity(running: Running, scenario: Scenario, material: Material) -> float:
    """Right answers per second of a closed loop with the scenario's mix."""
    load = Load("calibration", connections=8, seconds=CALIBRATION_SECONDS, mix=scenario.mix)
    return run(running, load, material, seed=0).summary().throughput


def _probe(running: Running, ask: Ask) -> float:
    """Milliseconds of one request, a moment after the load: has the service recovered?"""
    time.sleep(_RECOVERY_SECONDS)
    started_at = time.perf_counter()
    ask_once(running, ask)
    return round((time.perf_counter() - started_at) * 1e3, 2)


def _failures(summary: Mapping[str, Any]) -> int:
    return int(sum(count for outcome, count in summary["outcomes"].items() if outcome != "ok"))
