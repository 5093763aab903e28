"""Whether the instrument can be trusted: it must be faster than what it measures, and see faults planted on purpose."""

from pathlib import Path
from typing import Any

from rich.console import Console

from loadtest.compare import Bench, material_of, null_rate
from loadtest.measure import Load, as_json, run
from loadtest.peers.ranker import Ranker
from loadtest.servers import started
from loadtest.yardsticks import FAULTS, stand_in

_FAULT_SECONDS = 6.0
_FAULT_RATE = 400.0
_STALL_MS = 30.0
"""A stall of 50 ms delays what arrives in it by 25 ms on average; without one, all of this is below a few ms."""
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


def self_check(folder: Path, bench: Bench) -> dict[str, Any]:
    """The generator against a server without work, and against each planted fault."""
    _CONSOLE.print("null server and empty route")
    found: dict[str, Any] = null_rate(folder, bench)
    material = material_of(Ranker(str(folder)), (100,), bench.seed)
    faults = {}
    for fault in ("none", *FAULTS):
        server = stand_in(material, folder, fault)
        _CONSOLE.print(server.name)
        with started(server, folder, material.asks[0], bench.server_core, folder / "server.log") as running:
            load = Load(fault, rates=((_FAULT_RATE, _FAULT_SECONDS),))
            samples = run(running, load, material, seed=0)
        faults[fault] = {**as_json(samples), "seen": _seen(as_json(samples))}
    return {**found, "faults": faults}


def _seen(summary: dict[str, Any]) -> str | None:
    """What the figures say is wrong with the server, in words; None: nothing."""
    signs = []
    for outcome, count in sorted(summary["outcomes"].items()):
        if outcome != "ok":
            signs.append(f"{count / summary['requests']:.1%} of the requests: {outcome}")
    if summary["latency_ms"].get("max", 0.0) > _STALL_MS:
        late = summary["latency_ms"]
        signs.append(f"stalls: p99 {late.get('p99', float('nan')):.1f} ms, longest {late['max']:.1f} ms")
    return "; ".join(signs) or None
