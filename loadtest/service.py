"""Our own service as an operator would start it, what it knows of its variants, and what it can do."""

import json
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.admin import KEY
from loadtest.asks import draw_asks, truth_of
from loadtest.compare import K
from loadtest.measure import Load, Material, run
from loadtest.peers.ours import SERVER
from loadtest.peers.ranker import Ranker
from loadtest.prepare import SLIMRANK, Place, Prepared, prepare
from loadtest.servers import Running, Server

CALIBRATION_SECONDS = 4.0
Mix = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Cores:
    """Which core does what; the compressor shares the server's, as it would on a small machine."""

    server: int = 1
    client: int = 0


@dataclass(frozen=True)
class Known:
    """What the service tells of one of its variants."""

    active: bool
    may_serve: bool
    """Whether `auto` may choose it."""
    ndcg_at_10: float | None
    """As it was measured on the test rows; None where there are none."""


def service(
    place: Place,
    *,
    workers: int = 1,
    compressor: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """`slimrank serve` with an admin key, and with the settings that it comes with."""

    def command(_: Path, port: int) -> list[str]:
        flags = ("--port", port, "--store", place.store, "--models", place.models, "--workers", workers)
        more = () if compressor else ("--no-compressor",)
        return [str(SLIMRANK), "serve", *map(str, (*flags, *more))]

    return replace(SERVER, command=command, environment={"SLIMRANK_ADMIN_KEY": KEY} | dict(environment or {}))


def own_place(prepared: Prepared) -> Place:
    """A copy of the model's part of the store beside the prepared variant, so that the original is left alone."""
    place, target = prepared.place, prepared.folder.parent / "_store"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(place.store / place.model, target / place.model)
    return replace(place, store=target)


def known_variants(running: Running) -> dict[str, Known]:
    """The published variants of the model that is served, by name."""
    model = running.prepared.place.model
    url = f"http://127.0.0.1:{running.port}/v1/models/{model}/variants"
    with urllib.request.urlopen(url, timeout=10) as response:
        variants = json.load(response)["variants"]
    found = {}
    for one in variants:
        measured = ((one["report"] or {}).get("quality") or {}).get("ndcg_at_10")
        found[one["name"]] = Known(
            one["active"], one["verdict"] != "rejected", measured and float(measured["value"])
        )
    return found


def material_of_all(prepared: Prepared, counts: Sequence[int], seed: int) -> Material:
    """Asks, with the right answers of every active variant: for loads that let the service choose."""
    active = json.loads((prepared.place.store / prepared.place.model / "active.json").read_text())
    folders = {
        name: prepared.folder
        if name == prepared.variant
        else prepare(prepared.place, name, prepared.folder.parent / "_all").folder
        for name in active["state"]["versions"]
    }
    rankers = {name: Ranker(str(folder)) for name, folder in folders.items()}
    asks = draw_asks(rankers[prepared.variant], counts, K, seed)
    truths = {name: [truth_of(ranker, ask) for ask in asks] for name, ranker in rankers.items()}
    return Material(asks, truths[prepared.variant], truths)


def capacity_of(
    running: Running, mix: Mix, material: Material, seconds: float = CALIBRATION_SECONDS
) -> float:
    """Right answers per second of a closed loop with that mix."""
    load = Load("calibration", connections=8, seconds=seconds, mix=mix)
    return run(running, load, material, seed=0).summary().throughput
