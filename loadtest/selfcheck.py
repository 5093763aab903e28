"""Whether the instrument can be trusted: it must be faster than what it measures, and see faults planted on purpose."""

from dataclasses import replace
from typing import Any

from rich.console import Console

from loadtest.compare import Bench, material_of
from loadtest.measure import Load, Material, as_json, run
from loadtest.peers.ranker import Ranker
from loadtest.prepare import Prepared
from loadtest.servers import Server, started
from loadtest.speed import busy, stalls_ms
from loadtest.yardsticks import FAULTS, empty_route, stand_in

_FAULT_RATE = 400.0
_STALL_MS = 30.0
"""A stall of 50 ms delays what arrives in it by 25 ms on average; without one, all of this is below a few ms."""
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


def self_check(
    prepared: Prepared,
    bench: Bench,
    *,
    rate_seconds: float = 3.0,
    fault_seconds: float = 6.0,
    still_seconds: float = 60.0,
) -> dict[str, Any]:
    """The machine without a server; the generator against a server without work, and against each planted fault."""
    _CONSOLE.print("stalls of the servers' core while no server runs")
    with busy(bench.client_core):
        stalls = {"seconds": still_seconds, "ms": stalls_ms(bench.server_core, still_seconds)}
    material = material_of(Ranker(str(prepared.folder)), bench.counts, bench.seed)
    rates = {}
    for server in (stand_in(material, prepared), empty_route()):
        _CONSOLE.print(server.name)
        rates[server.name] = _rates(server, prepared, material, replace(bench, seconds=rate_seconds))
    faults = {}
    for fault in ("none", *FAULTS):
        server = stand_in(material, prepared, fault)
        _CONSOLE.print(server.name)
        with started(server, prepared, material.asks[0], bench.server_core) as running:
            samples = run(running, Load(fault, rates=((_FAULT_RATE, fault_seconds),)), material, seed=0)
        faults[fault] = {**as_json(samples), "seen": seen(as_json(samples))}
    return {"variant": prepared.variant, "rates": rates, "faults": faults, "stalls": stalls}


def _rates(server: Server, prepared: Prepared, material: Material, bench: Bench) -> dict[str, float]:
    """Requests per second of a closed loop, by candidate count."""
    found = {}
    with started(server, prepared, material.asks[0], bench.server_core) as running:
        for count in bench.counts:
            load = Load("rate", connections=bench.connections, seconds=bench.seconds, mix=((count, 1.0),))
            found[str(count)] = run(running, load, material, seed=0).summary().throughput
    return found


def seen(summary: dict[str, Any]) -> str | None:
    """What the figures say is wrong with the server, in words; None: nothing."""
    signs = []
    for outcome, count in sorted(summary["outcomes"].items()):
        if outcome != "ok":
            signs.append(f"{count / summary['requests']:.1%} of the requests: {outcome}")
    if summary["latency_ms"].get("max", 0.0) > _STALL_MS:
        late = summary["latency_ms"]
        signs.append(f"stalls: p99 {late.get('p99', float('nan')):.1f} ms, longest {late['max']:.1f} ms")
    return "; ".join(signs) or None
