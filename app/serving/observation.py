"""One ranking request as the metrics see it: how long it took, who answered, how it ended - failures too."""

import time

from app.serving.metrics import Metrics
from app.serving.query import Ranking


class Observation:
    """Filled in while the request is answered; `started` is on the clock of time.perf_counter()."""

    __slots__ = ("model", "ranking", "started", "variant")

    def __init__(self, model: str, started: float) -> None:
        self.model = model
        self.started = started
        self.variant = ""
        self.ranking: Ranking | None = None

    def answered_by(self, ranking: Ranking) -> None:
        """Note the answer."""
        self.ranking = ranking
        self.variant = ranking.variant

    @property
    def total_ms(self) -> float:
        """Milliseconds since the request came."""
        return (time.perf_counter() - self.started) * 1e3

    def ended(self, metrics: Metrics, outcome: str) -> None:
        """Count the request and its time: `ok`, or the code of what became of it."""
        metrics.of(self.model, self.variant).ended(outcome, self.total_ms / 1e3, self.ranking)
