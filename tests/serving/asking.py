"""Asking and waiting: the callbacks of serving, for tests that would rather await."""

import asyncio
from collections.abc import Callable

from app.serving.batcher import Batcher
from app.serving.lane import Lane
from app.serving.loaded import LoadedModel
from app.serving.query import Features, Query, Ranking
from app.serving.ranker import begin, finish, score
from app.serving.waiting import Outcome, Scored, Waiting


async def rank(model: LoadedModel, query: Query) -> Ranking:
    """The answer to one query, or what it is refused with."""
    begun = begin(model, query)
    return finish(begun, await _outcome(lambda done, gone: score(begun, done, gone)))


async def scored(batcher: Batcher, lane: Lane, features: Features, deadline: float) -> Scored:
    """The scores of one request; its client leaves when the task is cancelled."""
    return await _outcome(lambda done, gone: batcher.submit(Waiting(lane, features, deadline, done, gone)))


async def _outcome(ask: Callable[[Callable[[Outcome], None], Callable[[], bool]], None]) -> Scored:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def done(outcome: Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    ask(done, future.cancelled)
    outcome = await future
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
