"""Side by side: every server with the same graph, the same requests and one core, in turns, for several rounds."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtest.asks import draw_asks, truth_of
from loadtest.measure import Load, Material, as_json, run
from loadtest.peers.ranker import Ranker
from loadtest.servers import Running, Server, known_peers, started
from loadtest.yardsticks import bare_loop, empty_route, stand_in

NAIVE = "fastapi"
K = 10
_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Bench:
    """How long, how often, on which cores."""

    rounds: int = 3
    seconds: float = 4.0
    counts: tuple[int, ...] = (100, 1000)
    rates: tuple[tuple[int, float], ...] = ((100, 150.0), (1000, 25.0))
    """For each candidate count the open loop's requests per second: one that every side can serve."""
    connections: int = 8
    server_core: int = 1
    client_core: int = 0
    seed: int = 0

    def loads(self) -> list[Load]:
        """What each server is sent in each round."""
        closed = [
            Load(
                f"closed, {n} candidates", connections=self.connections, seconds=self.seconds, mix=((n, 1.0),)
            )
            for n in self.counts
        ]
        opened = [
            Load(f"open, {n} candidates, {rate:g}/s", rates=((rate, self.seconds),), mix=((n, 1.0),))
            for n, rate in self.rates
        ]
        return closed + opened


def material_of(ranker: Ranker, counts: Sequence[int], seed: int) -> Material:
    """Asks and their right answers."""
    asks = draw_asks(ranker, counts, K, seed)
    return Material(asks, [truth_of(ranker, ask) for ask in asks])


def compare(folder: Path, bench: Bench, names: Sequence[str] = ()) -> dict[str, Any]:
    """Measure every installed peer over one prepared variant; the naive one comes first and last in each round."""
    ranker = Ranker(str(folder))
    material = material_of(ranker, bench.counts, bench.seed)
    servers = _chosen(names, folder.name)
    loop = {str(n): bare_loop(ranker, material, n, bench.seconds) for n in bench.counts}
    found: list[dict[str, Any]] = []
    for number in range(bench.rounds):
        for position, server in enumerate(_order(servers, number)):
            _CONSOLE.print(f"round {number + 1} of {bench.rounds}: {server.name}")
            measured = _measure(server, folder, material, bench, seed=number)
            found.append({"round": number, "position": position, "server": server.name, **measured})
    return {
        "variant": folder.name,
        "bench": asdict(bench),
        "bare_loop_per_second": loop,
        "notes": {server.name: server.note for server in servers},
        "runs": found,
    }


def null_rate(folder: Path, bench: Bench) -> dict[str, Any]:
    """What the generator reaches against a server that does no work, and FastAPI against an empty route."""
    ranker = Ranker(str(folder))
    material = material_of(ranker, bench.counts, bench.seed)
    null = _measure(stand_in(material, folder), folder, material, bench, seed=0)
    empty = _measure(empty_route(), folder, material, bench, seed=0)
    return {"variant": folder.name, "null_server": null, "empty_route": empty}


def _chosen(names: Sequence[str], variant: str) -> list[Server]:
    peers = known_peers()
    if unknown := sorted(set(names) - peers.keys()):
        raise SystemExit(f"there is no peer {unknown[0]!r}; there are: {', '.join(peers)}")
    wanted = [one for name, one in peers.items() if not names or name in names]
    wanted = [one for one in wanted if one.only in {None, variant}]
    for server in wanted:
        if not server.installed:
            _CONSOLE.print(f"left out: {server.name} is not installed (python -m loadtest install)")
    return [server for server in wanted if server.installed]


def _order(servers: list[Server], number: int) -> list[Server]:
    """The naive server first and last, so that drift shows; the others shuffled by the round's number."""
    naive = [server for server in servers if server.name == NAIVE]
    others = [server for server in servers if server.name != NAIVE]
    random.Random(number).shuffle(others)  # noqa: S311  (an order, not a secret)
    return naive + others + naive


def _measure(server: Server, folder: Path, material: Material, bench: Bench, *, seed: int) -> dict[str, Any]:
    log = folder / "server.log"
    with started(server, folder, material.asks[0], bench.server_core, log) as running:
        _warm_up(running, material, bench)
        loads = {load.name: as_json(run(running, load, material, seed=seed)) for load in bench.loads()}
        return {"start_seconds": running.start_seconds, "memory": running.memory(), "loads": loads}


def _warm_up(running: Running, material: Material, bench: Bench) -> None:
    for count in bench.counts:
        run(running, Load("warm-up", connections=2, seconds=0.5, mix=((count, 1.0),)), material, seed=99)
