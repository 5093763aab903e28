"""Our own service through every scenario, with what an operator would do beside it."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from loadtest.admin import Admin
from loadtest.alongside import share_within
from loadtest.asks import Ask
from loadtest.bars import failures_of
from loadtest.compare import material_of
from loadtest.ideal_queue import ideal_of
from loadtest.measure import Load, Material, as_json, run
from loadtest.peers.ours import SERVER
from loadtest.peers.ranker import Ranker
from loadtest.prepare import Prepared
from loadtest.resident import growth, watched
from loadtest.samples import Samples, percentiles_ms
from loadtest.scenarios import ONE_HUNDRED, Scenario, counts_of
from loadtest.servers import Running, ask_once, started
from loadtest.service import Cores, Mix, capacity_of, own_place, service

COLD_STARTS = 5
_COLD_LOAD = Load("cold start", rates=((100.0, 1.0),), mix=ONE_HUNDRED)
_RECOVERY_SECONDS = 2.0
_SEED = 1
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


def run_scenarios(prepared: Prepared, scenarios: tuple[Scenario, ...], cores: Cores) -> dict[str, Any]:
    """Every scenario against a service with a store of its own, one after another.

    Requests name the variant, so that every answer can be held against that graph.
    """
    place = own_place(prepared)
    material = material_of(Ranker(str(prepared.folder)), counts_of(scenarios), 0)
    found: dict[str, Any] = {}
    swaps = any(one.beside == "swaps" for one in scenarios)
    with started(service(place, compressor=True), prepared, material.asks[0], cores.server) as running:
        admin = Admin(running.port, place.model, place.store / place.model / prepared.variant)
        admin.wait_for_jobs()
        if swaps:
            admin.make_second_version()
        capacities: dict[Mix, float] = {}
        for scenario in scenarios:
            turns = []
            for _ in range(scenario.turns):
                if scenario.mix not in capacities or scenario.turns > 1:
                    capacities[scenario.mix] = capacity_of(running, scenario.mix, material)
                capacity = capacities[scenario.mix]
                _CONSOLE.print(f"{scenario.name}: {scenario.what} (capacity {capacity:.0f}/s)")
                turn = _measured(scenario, capacity, running, admin, material)
                turns.append({**turn, "ideal_latency_ms": _ideal(scenario, capacities, material)})
            found[scenario.name] = _middle(turns)
    bars = [bar for one in scenarios for bar in one.judged(found[one.name])]
    return {"model": place.model, "variant": prepared.variant, "scenarios": found, "bars": bars}


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
            "failures": sum(failures_of(one["outcomes"]) for one in worst),
            "longest_ms": max(one["latency_ms"].get("max", 0.0) for one in worst),
        },
    }


def _middle(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The turn whose p99 is the middle one, with the latencies of all."""
    told = [turn["latency_ms"] for turn in turns]
    middle = sorted(turns, key=lambda turn: turn["latency_ms"].get("p99", 0.0))[len(turns) // 2]
    return {**middle, "latency_ms_of_turns": told} if len(turns) > 1 else middle


def _measured(
    scenario: Scenario, capacity: float, running: Running, admin: Admin, material: Material
) -> dict[str, Any]:
    before = running.memory()
    watch = (
        nullcontext()
        if scenario.watch_seconds is None
        else watched(running.process.pid, scenario.watch_seconds)
    )
    with admin.beside(scenario.beside) as notes, watch as seen:
        samples = run(running, scenario.load(capacity), material, seed=_SEED)
    watched_memory = (
        {} if seen is None else {"resident": {"seen": seen, "growth": growth(seen, scenario.seconds)}}
    )
    return {
        "what": scenario.what,
        "capacity_per_second": capacity,
        **as_json(samples),
        "latency_ms_by_candidates": _by_candidates(samples, material),
        "memory_before": before,
        "memory_after": running.memory(),
        "beside": _told(notes, samples),
        **watched_memory,
        "probe_ms_after": _probe(running, material.asks[0]),
    }


def _by_candidates(samples: Samples, material: Material) -> dict[int, dict[str, float]]:
    """Latencies of right answers by how many candidates were asked about."""
    counts, took = np.array([len(ask.candidates) for ask in material.asks])[samples.asks], samples.took_ms()
    right = samples.right()
    return {int(count): percentiles_ms(took[right & (counts == count)]) for count in np.unique(counts[right])}


def _ideal(scenario: Scenario, capacities: Mapping[Mix, float], material: Material) -> dict[str, float]:
    """Latencies of the same requests in a queue without a flaw; none where more is asked than can be done."""
    if any(share >= 1 for share, _ in scenario.shares):
        return {}
    return ideal_of(scenario.load(capacities[scenario.mix]), material, _SEED, capacities)


def _probe(running: Running, ask: Ask) -> float:
    """Milliseconds of one request, a moment after the load: has the service recovered?"""
    time.sleep(_RECOVERY_SECONDS)
    started_at = time.perf_counter()
    ask_once(running, ask)
    return round((time.perf_counter() - started_at) * 1e3, 2)


def _told(notes: dict[str, Any], samples: Samples) -> dict[str, Any]:
    """The notes of what was done beside the load; of a job, which share of the load's time it was running."""
    if "running_spans" not in notes:
        return notes
    to_unix = time.time() - time.perf_counter()
    spans = notes["running_spans"]
    share = share_within(spans, samples.started + to_unix, samples.ended + to_unix)
    return {**{name: note for name, note in notes.items() if name != "running_spans"}, "running_share": share}
