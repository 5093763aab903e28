"""Continuous ranking requests from several threads, each on a connection of its own, that count every failure.

The load is bounded: what runs beside it, a compressor or the tests of another file, must get its share of two cores.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from tests.processes import WAIT_SECONDS

BODY = {"user": {"user_id": "u1"}, "context": {"device": "phone"}, "candidates": ["i1", "i2", "i3"]}
# Of each thread, after every request: three of them ask at most 150 times a second in all.
PAUSE_SECONDS = 0.02


class Load:
    """What became of the requests so far."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.versions: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.stop = threading.Event()
        self._lock = threading.Lock()

    @property
    def answered(self) -> int:
        return self.outcomes["200"]

    def note(self, outcome: str, variant: tuple[str, str] | None = None, failure: str = "") -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            if variant is not None:
                self.versions[variant] += 1
            if failure:
                self.failures.append(failure)

    def wait_for(self, more: int, seconds: float = WAIT_SECONDS) -> None:
        """Wait until that many more requests were answered."""
        wanted, deadline = self.answered + more, time.monotonic() + seconds
        while self.answered < wanted:
            assert time.monotonic() < deadline, f"no answers any more: {self.outcomes} {self.failures[-3:]}"
            time.sleep(0.01)


@contextmanager
def continuous_load(url: str, threads: int = 3) -> Iterator[Load]:
    """Send requests until the block ends."""
    load = Load()
    running = [threading.Thread(target=_send, args=(url, load), daemon=True) for _ in range(threads)]
    for one in running:
        one.start()
    try:
        yield load
    finally:
        load.stop.set()
        for one in running:
            one.join(WAIT_SECONDS)


def _send(url: str, load: Load) -> None:
    with httpx2.Client(base_url=url, timeout=WAIT_SECONDS) as client:
        while not load.stop.wait(PAUSE_SECONDS):
            try:
                response = client.post("/v1/models/clicks/rank", json=BODY)
            except httpx2.HTTPError as error:
                load.note(type(error).__name__, failure=repr(error))
                continue
            if response.status_code == 200:
                answer = response.json()
                load.note("200", (answer["variant"], answer["version"]))
            else:
                load.note(str(response.status_code), failure=response.text)
