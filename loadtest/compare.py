"""Side by side: every server with the same graph, the same requests and one core, in short turns, for many rounds.

All servers are started first and then stopped where they stand; each wakes for its own turns only. So a round is short,
and the sides of a ratio are measured within seconds of each other. The speed of the core is taken before and after each
turn, and rates are told for one and the same speed.
"""

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from rich.console import Console

from loadtest.asks import draw_asks, truth_of
from loadtest.measure import Load, Material, run
from loadtest.peers.ranker import Ranker
from loadtest.prepare import Prepared
from loadtest.samples import Samples, percentiles_ms
from loadtest.servers import NotStarted, Running, Server, known_peers, started
from loadtest.speed import is_steady, speed_of
from loadtest.yardsticks import bare_loop, empty_route

T = TypeVar("T")
NAIVE = "fastapi"
K = 10
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Bench:
    """How long, how often, on which cores."""

    rounds: int = 40
    seconds: float = 0.25
    """Many short turns tell a ratio better than few long ones: the machine changes its speed for seconds at a time."""
    open_every: int = 40
    """Open loops run in every so many rounds: what they tell is no ratio."""
    open_seconds: float = 4.0
    warm_up_seconds: float = 0.1
    """At the beginning of each turn: whoever just woke finds cold caches, and its answers are not counted."""
    settle_seconds: float = 4.0
    """Of load before memory is looked at and the first round begins: a JVM compiles what is hot."""
    counts: tuple[int, ...] = (100, 1000)
    rates: tuple[tuple[int, float], ...] = ((100, 120.0), (1000, 40.0))
    """For each candidate count the open loop's requests per second: one that every side can serve."""
    connections: int = 8
    server_core: int = 1
    client_core: int = 0
    seed: int = 0

    def loads(self, number: int) -> list[Load]:
        """What each server is sent in round `number`."""
        closed = [
            Load(
                f"closed, {n} candidates", connections=self.connections, seconds=self.seconds, mix=((n, 1.0),)
            )
            for n in self.counts
        ]
        opened = [
            Load(f"open, {n} candidates, {rate:g}/s", rates=((rate, self.open_seconds),), mix=((n, 1.0),))
            for n, rate in self.rates
        ]
        return closed if number % self.open_every else closed + opened


def material_of(ranker: Ranker, counts: Sequence[int], seed: int) -> Material:
    """Asks and their right answers."""
    asks = draw_asks(ranker, counts, K, seed)
    return Material(asks, [truth_of(ranker, ask) for ask in asks])


class Comparison:
    """One run of all sides over one prepared variant."""

    def __init__(self, prepared: Prepared, bench: Bench, material: Material | None = None) -> None:
        self.prepared = prepared
        self.bench = bench
        self.ranker = Ranker(str(prepared.folder))
        self.material = material or material_of(self.ranker, bench.counts, bench.seed)
        self.turns: list[dict[str, Any]] = []
        self.loops: list[dict[str, Any]] = []
        self._latencies: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))

    def run(self, servers: Sequence[Server]) -> dict[str, Any]:
        """Start all, measure in turns, end all; gives the content of a result file."""
        described: dict[str, dict[str, Any]] = {}
        failed: dict[str, str] = {}
        with ExitStack() as stack:
            sides = []
            for server in servers:
                _CONSOLE.print(f"starting {server.name}")
                try:
                    side = stack.enter_context(self._resting(server))
                except NotStarted as error:
                    _CONSOLE.print(f"left out: {error}")
                    failed[server.name] = str(error)
                    continue
                sides.append(side)
                described[server.name] = _described(side)
            for number in range(self.bench.rounds):
                _CONSOLE.print(f"{self.prepared.variant}: round {number + 1} of {self.bench.rounds}")
                self._round(sides, number)
        for name, by_load in self._latencies.items():
            pooled = {load: percentiles_ms(np.concatenate(parts)) for load, parts in by_load.items()}
            described[name]["latency_ms"] = pooled
        return {
            "model": self.prepared.place.model,
            "variant": self.prepared.variant,
            "bench": asdict(self.bench),
            "servers": described,
            "not_started": failed,
            "turns": self.turns,
            "bare_loop": self.loops,
        }

    @contextmanager
    def _resting(self, server: Server) -> Iterator[Running]:
        """The server, started, warmed, and then stopped where it stands."""
        with started(server, self.prepared, self.material.asks[0], self.bench.server_core) as running:
            for count in self.bench.counts:
                seconds = self.bench.settle_seconds / len(self.bench.counts)
                load = Load(
                    "warm-up", connections=self.bench.connections, seconds=seconds, mix=((count, 1.0),)
                )
                run(running, load, self.material, seed=99)
            running.rest()
            yield running

    def _round(self, sides: Sequence[Running], number: int) -> None:
        self._loop(number)
        for load in self.bench.loads(number):
            for position, side in enumerate(_order(sides, number)):
                where = {"round": number, "position": position, "server": side.server.name, "load": load.name}
                samples, speed = self._timed(partial(self._turn, side, load, seed=number))
                self.turns.append({**where, **asdict(samples.summary()), **speed})
                self._latencies[side.server.name][load.name].append(samples.latencies_ms())

    def _timed(self, measure: Callable[[], T]) -> tuple[T, dict[str, Any]]:
        """What was measured, and how fast the servers' core was meanwhile."""
        core = self.bench.server_core
        before, found, after = speed_of(core), measure(), speed_of(core)
        return found, {"speed": (before + after) / 2, "steady": is_steady(before, after)}

    def _turn(self, side: Running, load: Load, *, seed: int) -> Samples:
        side.wake()
        try:
            warm_up = Load("warm-up", connections=2, seconds=self.bench.warm_up_seconds, mix=load.mix)
            run(side, warm_up, self.material, seed=99)
            return run(side, load, self.material, seed=seed)
        finally:
            side.rest()

    def _loop(self, number: int) -> None:
        """The ranker alone, on the servers' core."""
        for count in self.bench.counts:
            for json_bodies in (False, True):
                measure = partial(self._bare_loop, count, json_bodies=json_bodies)
                rate, speed = self._timed(measure)
                where = {"round": number, "candidates": count, "json": json_bodies}
                self.loops.append({**where, "per_second": rate, **speed})

    def _bare_loop(self, count: int, *, json_bodies: bool) -> float:
        os.sched_setaffinity(0, {self.bench.server_core})
        try:
            seconds = self.bench.seconds / 2
            return bare_loop(self.ranker, self.material, count, seconds, json_bodies=json_bodies)
        finally:
            os.sched_setaffinity(0, {self.bench.client_core})


def _described(side: Running) -> dict[str, Any]:
    server = side.server
    return {
        "note": server.note,
        "requirements": list(server.requirements),
        "start_seconds": side.start_seconds,
        "memory": side.memory(),
    }


def compare(prepared: Prepared, bench: Bench, names: Sequence[str] = ()) -> dict[str, Any]:
    """Measure every installed peer, and FastAPI's empty route, over one prepared variant."""
    return Comparison(prepared, bench).run([*chosen(names, prepared), empty_route()])


def chosen(names: Sequence[str], prepared: Prepared) -> list[Server]:
    """The installed peers of these names, or all, that can serve the variant. Raises SystemExit for an unknown name."""
    peers = known_peers()
    if unknown := sorted(set(names) - peers.keys()):
        raise SystemExit(f"there is no peer {unknown[0]!r}; there are: {', '.join(peers)}")
    wanted = [one for name, one in peers.items() if not names or name in names]
    wanted = [one for one in wanted if one.only in {None, f"{prepared.place.model}/{prepared.variant}"}]
    for server in wanted:
        if not server.installed:
            _CONSOLE.print(f"left out: {server.name} is not installed (python -m loadtest install)")
    return [server for server in wanted if server.installed]


def _order(sides: Sequence[Running], number: int) -> list[Running]:
    """The naive server first and last, so that drift shows; the others shuffled by the round's number."""
    naive = [side for side in sides if side.server.name == NAIVE]
    others = [side for side in sides if side.server.name != NAIVE]
    random.Random(number).shuffle(others)  # noqa: S311  (an order, not a secret)
    return naive + others + naive
