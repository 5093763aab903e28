"""One measurement: a plan sent to a server, every answer held against the truth."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import uvloop

from loadtest.asks import Ask, Truth, http_request
from loadtest.generate import Generator, Plan, poisson
from loadtest.samples import Samples
from loadtest.servers import Origin, Running, Server

WRONG = "wrong answer"


@dataclass(frozen=True)
class Load:
    """What to send: in the open loop at rates (requests per second, seconds), in the closed one on n connections."""

    name: str
    rates: tuple[tuple[float, float], ...] = ()
    connections: int = 8
    seconds: float = 0.0
    """Of the closed loop."""
    mix: tuple[tuple[int, float], ...] = ((100, 1.0),)
    """Candidate counts and how often each occurs."""
    exact: bool = True
    """Whether the generator may keep its core busy to send at the very moment."""
    proven: bool = False
    """Whether every connection has had an answer before the first request."""

    @property
    def closed(self) -> bool:
        """Whether the next request waits for an answer."""
        return not self.rates


@dataclass(frozen=True)
class Material:
    """Asks with their right answers."""

    asks: Sequence[Ask]
    truths: Sequence[Truth]
    by_variant: Mapping[str, Sequence[Truth]] = field(default_factory=dict)
    """Right answers of each variant that may answer: what names its variant is held against that one."""

    def truth(self, ask: int, origin: Origin | None) -> Truth:
        """What an answer to that ask is held against. Raises KeyError for a variant that nobody expected."""
        if origin is None or not self.by_variant:
            return self.truths[ask]
        return self.by_variant[origin[0]][ask]

    def positions(self, count: int) -> np.ndarray:
        """The asks with that many candidates."""
        found = np.array([n for n, ask in enumerate(self.asks) if len(ask.candidates) == count])
        if not len(found):
            raise ValueError(f"no asks with {count} candidates were prepared")
        return found


# More requests than a closed loop can send: it ends by time.
_CLOSED_RATE_LIMIT = 20_000


def plan_of(load: Load, material: Material, seed: int) -> Plan:
    """Which asks are sent, and when."""
    rng = np.random.default_rng(seed)
    at_seconds = None if load.closed else poisson(load.rates, seed)
    count = int(load.seconds * _CLOSED_RATE_LIMIT) if at_seconds is None else len(at_seconds)
    order = _draw(load, material, count, rng)
    return Plan(order, at_seconds, load.connections, load.seconds, exact=load.exact, proven=load.proven)


def run(running: Running, load: Load, material: Material, *, seed: int) -> Samples:
    """Send a load and check every answer; wrong ones count as failures."""
    plan = plan_of(load, material, seed)
    host = f"127.0.0.1:{running.port}"
    requests = [http_request(running.path, running.body(ask), host) for ask in material.asks]
    samples = uvloop.run(_generate(running.port, requests, plan))
    samples.asks = plan.order
    if running.server.judged:
        _check(samples, plan.order, running.server, material)
    return samples


async def _generate(port: int, requests: Sequence[bytes], plan: Plan) -> Samples:
    return await Generator("127.0.0.1", port, requests, plan).run()


def _draw(load: Load, material: Material, count: int, rng: np.random.Generator) -> np.ndarray:
    """Which ask each request is: a candidate count by its share, then one of that count's asks."""
    shares = np.array([share for _, share in load.mix])
    which = rng.choice(len(load.mix), size=count, p=shares / shares.sum())
    order = np.empty(count, dtype=np.int64)
    for position, (candidates, _) in enumerate(load.mix):
        chosen = which == position
        order[chosen] = rng.choice(material.positions(candidates), size=int(chosen.sum()))
    return order


def _check(samples: Samples, order: np.ndarray, server: Server, material: Material) -> None:
    # Equal bodies to equal asks are judged once.
    judged: dict[tuple[int, bytes], tuple[bool, Origin | None]] = {}
    for number, body in enumerate(samples.bodies):
        if body is None or number in samples.failed:
            continue
        ask = int(order[number])
        if (ask, body) not in judged:
            judged[ask, body] = _judged(body, ask, server, material)
        right, origin = judged[ask, body]
        if origin is not None:
            samples.origins[number] = origin
        if not right:
            samples.failed[number] = WRONG


def _judged(body: bytes, ask: int, server: Server, material: Material) -> tuple[bool, Origin | None]:
    """Whether an answer is right, and what made it."""
    origin = None
    try:
        answer = json.loads(body)
        origin = server.origin(answer)
        return material.truth(ask, origin).accepts(server.items(answer)), origin
    except (ValueError, KeyError, TypeError, IndexError):
        return False, origin


def as_json(samples: Samples) -> dict[str, Any]:
    """The run for a result file."""
    return asdict(samples.summary())
