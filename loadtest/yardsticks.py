"""What the results are read against: a server without work, faults on purpose, an empty route, and no server at all."""

import json
import time
from pathlib import Path

import numpy as np

from loadtest.asks import Ask, Truth, body_of
from loadtest.measure import Material
from loadtest.peers.ranker import Ranker
from loadtest.prepare import ROOT, Prepared
from loadtest.servers import Items, Server

FAULTS = {
    "stall": "stands still for 50 ms once a second",
    "wrong": "gives 1% wrong answers",
    "drop": "drops 1% of the connections",
}


def stand_in(material: Material, prepared: Prepared, fault: str = "none") -> Server:
    """A server that has every right answer ready; with a fault, one that fails on purpose."""
    answers = prepared.folder / "answers.json"
    pairs = [
        (json.dumps(body_of(ask, ""), separators=(",", ":")), json.dumps(_answer(ask, truth)))
        for ask, truth in zip(material.asks, material.truths, strict=True)
    ]
    answers.write_text(json.dumps(pairs))

    def command(_: Path, port: int) -> list[str]:
        python = str(ROOT / ".venv" / "bin" / "python")
        return [python, "-m", "loadtest.stand_in", str(port), str(answers), "--fault", fault]

    name = "null server" if fault == "none" else f"fault: {fault}"
    return Server(
        name=name, command=command, path="/rank", note=FAULTS.get(fault, "every answer made beforehand")
    )


def empty_route() -> Server:
    """FastAPI's own share: an async route that gives an empty answer. Its answers are not judged."""

    def command(folder: Path, port: int) -> list[str]:
        python = str(ROOT / ".venv" / "bin" / "python")
        return [python, "-m", "loadtest.peers.fastapi_app", str(folder), str(port)]

    def items(_: object) -> Items:
        return [("", 0.0)]

    def nothing(ask: Ask, variant: str) -> dict[str, object]:  # noqa: ARG001  (every body has this shape)
        return {}

    return Server(
        name="empty FastAPI route",
        command=command,
        path="/empty",
        body=nothing,
        items=items,
        judged=False,
        note="an async route that gives an empty answer: the framework alone",
    )


def bare_loop(
    ranker: Ranker, material: Material, candidates: int, seconds: float, *, json_bodies: bool
) -> float:
    """Requests per second of the ranker alone, one after another, without HTTP; with or without JSON in and out."""
    bodies = [json.dumps(body_of(material.asks[n], "")) for n in material.positions(candidates)]
    requests = [json.loads(body) for body in bodies]
    order = np.random.default_rng(0).integers(len(bodies), size=100_000).tolist()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        number = order[done % len(order)]
        if json_bodies:
            json.dumps(ranker.rank(json.loads(bodies[number])))
        else:
            ranker.rank(requests[number])
        done += 1
    return done / (time.perf_counter() - started)


def _answer(ask: Ask, truth: Truth) -> dict[str, object]:
    best = sorted(ask.candidates, key=lambda one: -truth.scores[one])[: ask.k]
    return {"items": [{"item_id": one, "score": truth.scores[one]} for one in best]}
