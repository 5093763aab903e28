"""The demo's best variant on Slimrank beside its fp32 baseline on the peers, and beside a route that does nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from loadtest.bars import DEMO
from loadtest.compare import Bench, Comparison, chosen
from loadtest.peers.ours import asking
from loadtest.peers_report import EMPTY, OURS, rates
from loadtest.prepare import Prepared
from loadtest.service import material_of_all, own_place, service
from loadtest.yardsticks import empty_route

RATES = ((100, 60.0), (1000, 8.0))
"""Of the open loops, by candidate count: what the slowest peer can serve with the demo's fp32 graph."""


def measure_demo(prepared: Prepared, bench: Bench, names: Sequence[str], ours: str) -> dict[str, Any]:
    """The peers with the prepared variant, ours with another, in the same turns; and the bars.

    `ours` is what Slimrank is asked for: a variant, or `auto`.
    """
    asked = asking(service(own_place(prepared)), ours)
    mine = replace(asked, note=f"one worker, one inference thread; asked for `{ours}`")
    peers = [one for one in chosen(names, prepared) if not one.name.startswith(OURS)]
    servers = [*peers, mine]
    material = material_of_all(prepared, bench.counts, bench.seed)
    found = Comparison(prepared, bench, material).run([*servers, empty_route()])
    return {**found, "ours": ours, "ratios": demo_ratios(found), "bars": judged(found)}


def demo_ratios(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By candidate count: the best peer, and medians of what we are of it and of the empty route, round by round."""
    found = {}
    for count in result["bench"]["counts"]:
        by_server = rates(dict(result), f"closed, {count} candidates")
        peers = {n: some for n, some in by_server.items() if n != EMPTY and not n.startswith(OURS)}
        best = max(peers, key=lambda name: median(peers[name]), default=None)
        found[str(count)] = {
            "best_peer": best,
            "of_best_peer": None if best is None else _of(by_server[OURS], peers[best]),
            "of_empty_route": _of(by_server[OURS], by_server[EMPTY]),
        }
    return found


def judged(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The demo's bars at the candidate counts that were measured."""
    return [
        bar.judged(one[kind])
        for count, one in demo_ratios(result).items()
        for kind, bar in DEMO.get(int(count), {}).items()
    ]


def _of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return median(a / b for a, b in zip(ours, theirs, strict=True))
