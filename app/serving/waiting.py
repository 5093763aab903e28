"""What waits in the queue: one request, what becomes of it, and who is told."""

import logging
import time
from collections.abc import Callable

import msgspec

from app.encoding import Array
from app.errors import DeadlineExceeded
from app.serving.lane import Lane
from app.serving.query import Features

_LOG = logging.getLogger(__name__)


class Scored(msgspec.Struct, frozen=True, gc=False):
    """Scores float32 [rows], and seconds spent waiting and running."""

    scores: Array
    queue_seconds: float
    infer_seconds: float


class ClientGone(Exception):
    """Nobody waits for the scores any more; nothing was computed since that was known."""


Outcome = Scored | Exception


class Waiting:
    """One request in the queue. `done` is called once, on the event loop; `gone` says whether its client has left."""

    __slots__ = (
        *("deadline", "done", "features", "gone", "infer_seconds", "lane", "next_row", "pieces", "seconds"),
        "since",
    )

    def __init__(
        self,
        lane: Lane,
        features: Features,
        deadline: float,
        done: Callable[[Outcome], None],
        gone: Callable[[], bool],
    ) -> None:
        self.lane = lane
        self.features = features
        self.deadline = deadline
        self.done = done
        self.gone = gone
        self.since = time.perf_counter()
        self.next_row = 0
        self.pieces: list[Array] = []
        self.infer_seconds = 0.0
        self.seconds = lane.cost.seconds(features.rows)

    @property
    def rows_left(self) -> int:
        """Rows without a score yet."""
        return self.features.rows - self.next_row

    def is_worth_it(self, now: float, seconds: float = 0.0) -> bool:
        """Whether somebody still wants this in time, if it takes so many seconds; one that is late is told so."""
        if self.gone():
            self.tell(ClientGone())
            return False
        if now + seconds < self.deadline:
            return True
        passed = "passed" if now >= self.deadline else "would pass before the scores are there,"
        waited = f"the deadline {passed} after {(now - self.since) * 1e3:.0f} ms in the queue"
        scored = f"{self.next_row:,} of {self.features.rows:,} candidates were scored"
        self.tell(DeadlineExceeded(f"{waited}; {scored if self.next_row else 'nothing was computed'}"))
        return False

    def tell(self, outcome: Outcome) -> None:
        """Tell it how it ended. What goes wrong with one answer must not keep others from theirs."""
        try:
            self.done(outcome)
        except Exception:  # noqa: BLE001 - a fault of one answer, and the log has it
            _LOG.exception("an answer could not be given")
