"""Bars of a comparison with peers on one fp32 graph: how near the loop without a server, how far from FastAPI.

They are held against Slimrank as it is, and against Slimrank that runs the whole graph for each request, as the others
do: what it computes of items beforehand is a gain of its own.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from loadtest.bars import PEERS, ratio
from loadtest.peers.ours_whole import SERVER
from loadtest.peers_report import NAIVE, OURS, loop_rates, rates

WHOLE = SERVER.name


def peers_bars(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bars at the candidate counts that were measured; what did not run falls short."""
    found = []
    for count in result["bench"]["counts"]:
        load = f"closed, {count} candidates"
        medians = {name: median(some) for name, some in rates(dict(result), load).items()}
        loops = loop_rates(dict(result), load, json_bodies=False)
        for server, suffix in ((OURS, ""), (WHOLE, ", the whole graph for each request")):
            measured = {
                "of_loop": ratio(medians.get(server), median(loops) if loops else None),
                "of_naive": ratio(medians.get(server), medians.get(NAIVE)),
            }
            found += [
                replace(bar, what=f"{bar.what}{suffix}").judged(measured[kind])
                for kind, bar in PEERS.get(count, {}).items()
            ]
    return found
