"""Sessions without a graph, whose scores can be told beforehand, and a batcher over one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np
from app.encoding import Array
from app.serving.batcher import Batcher
from app.serving.costs import RunCost
from app.serving.lane import Lane
from app.serving.query import Features
from app.serving.session import Session
from app.serving.waiting import Scored

from tests.processes import WAIT_SECONDS
from tests.serving.asking import scored
from tests.serving.store_changes import until

LATER = float("inf")
BAD = 666.0


class Adding(Session):
    """Scores each row with its own `value` plus the `base` of its request, and notes the values of each run."""

    def __init__(self) -> None:  # there is no graph to load
        self.runs: list[list[float]] = []

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        self.runs.append(inputs["value"].tolist())
        scores: Array = inputs["value"] + inputs["base"][row_request]
        return scores


class HeldSession(Session):
    """Scores each row with its own `value` plus that of its request; waits for `go`, and breaks on BAD."""

    def __init__(self) -> None:  # there is no graph to load
        self.begun = threading.Event()
        self.go = threading.Event()
        self.runs: list[list[float]] = []

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        self.begun.set()
        assert self.go.wait(60)
        self.runs.append(inputs["value"].tolist())
        if BAD in inputs["value"]:
            raise ValueError("this request breaks the graph")
        scores: Array = inputs["value"] + inputs["base"][row_request]
        return scores


class Steady(RunCost):
    """A cost that stays what it is."""

    def note(self, rows: int, seconds: float) -> None:
        """Learn nothing: the runs of these tests take no time of their own."""


class Bench:
    """A batcher and a HeldSession, whose runs are thought to be too slow for the event loop."""

    def __init__(self, executor: Executor, run_rows: int = 1000, row_seconds: float = 0.0) -> None:
        self.session = HeldSession()
        self.batcher = Batcher(executor)
        cost = Steady([(rows, 0.005 + row_seconds * rows) for rows in (1, 1000)])
        self.lane = Lane(self.session, frozenset({"base"}), cost, run_rows)

    async def send(self, *values: float, base: float = 0.0, deadline: float = LATER) -> asyncio.Task[Scored]:
        """A request that has taken its place in the queue."""
        inputs = {"base": np.array([base], np.float32), "value": np.array(values, np.float32)}
        features = Features(inputs, len(values))
        task = asyncio.create_task(scored(self.batcher, self.lane, features, deadline))
        await asyncio.sleep(0)
        return task

    async def occupied(self) -> asyncio.Task[Scored]:
        """A request whose run is under way until `go`, so that all that follow wait."""
        first = await self.send(-1.0)
        await asyncio.sleep(0)  # its runner takes it out of the queue
        return first

    async def in_the_thread(self) -> None:
        """Come back once the executor's thread has begun a run: what it has not is cancelled when it is shut."""
        await until(self.session.begun.is_set)


def play(scene: Callable[[], Awaitable[Any]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scene(), WAIT_SECONDS)

    asyncio.run(bounded())


async def outcomes(*tasks: asyncio.Task[Scored]) -> list[Any]:
    """The scores of each request, or what it raised."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one.scores.tolist() if isinstance(one, Scored) else one for one in found]
