"""Which runs are done without a thread, and how that is known."""

import asyncio
import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from app.encoding import Array
from app.serving.batcher import QUICK_SECONDS, Batcher, Costs
from app.serving.query import Features
from app.serving.session import Session


class WhichThread(Session):
    """Notes the thread of each run; a run of more than ten rows takes its time."""

    def __init__(self) -> None:  # there is no graph to load
        self.threads: list[int] = []

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:  # noqa: ARG002
        self.threads.append(threading.get_ident())
        if len(row_request) > 10:
            time.sleep(2 * QUICK_SECONDS)
        return np.zeros(len(row_request), np.float32)


def of_rows(count: int) -> Features:
    return Features({"value": np.zeros(count, np.float32)}, count)


def test_runs_known_to_be_quick_need_no_thread_and_others_do() -> None:
    async def scene(executor: ThreadPoolExecutor) -> None:
        session = WhichThread()
        batcher = Batcher(session, frozenset(), executor, max_queue=10, max_batch_rows=1000)
        for _ in range(30):
            await batcher.score(of_rows(1), math.inf)
        here = threading.get_ident()
        assert session.threads[0] != here, "nothing is known of the first run"
        assert session.threads[-1] == here
        for _ in range(3):
            await batcher.score(of_rows(20), math.inf)
        assert here not in session.threads[-3:]

    with ThreadPoolExecutor(max_workers=1) as one:
        asyncio.run(scene(one))


def test_what_runs_take_is_learned_by_their_size_and_forgotten_slowly() -> None:
    costs = Costs()
    assert costs.seconds(100) == math.inf
    costs.note(100, 1.0)
    assert costs.seconds(127) == 1.0, "the same power of two"
    assert costs.seconds(128) == math.inf
    for _ in range(50):
        costs.note(100, 0.0)
    assert costs.seconds(100) < 1e-3
