"""What a queue without a flaw would make of the same arrivals: the yardstick for the latencies of an open loop.

One server, first come, first served, and each request takes what it takes at full throughput, joined with others and
all. No service that keeps the order can be faster without being faster at full throughput too.
"""

from collections.abc import Mapping

import numpy as np

from loadtest.measure import Load, Material, plan_of
from loadtest.samples import percentiles_ms
from loadtest.service import Mix


def ideal_latency_ms(at_seconds: np.ndarray, service_seconds: np.ndarray) -> dict[str, float]:
    """Percentiles of the time from arrival to answer, for arrivals and service times float64 [requests].

    Lindley's recursion (The theory of queues with a single server, 1952): a request waits as long as the one before it
    waited and was served, less what passed between the two.
    """
    waits = np.zeros(len(at_seconds))
    for number, gap in enumerate(np.diff(at_seconds)):
        waits[number + 1] = max(0.0, waits[number] + service_seconds[number] - gap)
    return percentiles_ms((waits + service_seconds) * 1e3)


def ideal_of(load: Load, material: Material, seed: int, capacities: Mapping[Mix, float]) -> dict[str, float]:
    """The same for the very requests that `run` sends of an open loop with that seed."""
    plan = plan_of(load, material, seed)
    assert plan.at_seconds is not None
    rows = np.array([len(material.asks[ask].candidates) for ask in plan.order])
    return ideal_latency_ms(plan.at_seconds, service_seconds(rows, load.mix, capacities))


def service_seconds(rows: np.ndarray, mix: Mix, capacities: Mapping[Mix, float]) -> np.ndarray:
    """What requests of so many rows, int [requests], take, so that the mix has its capacity, in requests per second.

    How much of it goes with the rows is told by the capacities of loads of one size; with less than two of those, all.
    """
    sizes = {one[0][0]: 1.0 / rate for one, rate in capacities.items() if len(one) == 1}
    slope, base = np.polyfit(list(sizes), list(sizes.values()), 1) if len(sizes) > 1 else (1.0, 0.0)
    counts, weights = np.array(mix).T
    mean = np.average(base + slope * counts, weights=weights)
    scaled: np.ndarray = (base + slope * rows) / (mean * capacities[mix])
    return scaled
