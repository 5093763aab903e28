"""Bars of a comparison with peers on one fp32 graph: how near the loop without a server, how far from FastAPI."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from loadtest.bars import PEERS, ratio
from loadtest.peers_report import NAIVE, OURS, loop_rates, rates


def peers_bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bars at the candidate counts that were measured; what did not run falls short."""
    found = []
    for count in result["bench"]["counts"]:
        load = f"closed, {count} candidates"
        medians = {name: median(some) for name, some in rates(dict(result), load).items()}
        loops = loop_rates(dict(result), load, json_bodies=False)
        measured = {
            "of_loop": ratio(medians.get(OURS), median(loops) if loops else None),
            "of_naive": ratio(medians.get(OURS), medians.get(NAIVE)),
        }
        found += [bar.judged(measured[kind]) for kind, bar in PEERS.get(count, {}).items()]
    return found
