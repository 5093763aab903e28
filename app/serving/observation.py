"""One ranking request as the metrics see it: how long it took, who answered, how it ended - failures too."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.errors import ServiceError
from app.serving.metrics import Metrics
from app.serving.query import Ranking


@dataclass(slots=True)
class Observation:
    """Filled in while the request is answered."""

    model: str
    variant: str = ""
    ranking: Ranking | None = None
    started: float = field(default_factory=time.perf_counter)

    def answered_by(self, ranking: Ranking) -> None:
        """Note the answer."""
        self.ranking = ranking
        self.variant = ranking.variant

    @property
    def total_ms(self) -> float:
        """Milliseconds since the request began."""
        return (time.perf_counter() - self.started) * 1e3


@contextmanager
def observed(metrics: Metrics, model: str) -> Iterator[Observation]:
    """Count the request and its time, whatever becomes of it."""
    one = Observation(model)
    outcome = "internal"
    try:
        yield one
        outcome = "ok"
    except ServiceError as error:
        outcome = error.code
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    finally:
        labels = metrics.labels_of(one.model, one.variant)
        metrics.requests.labels(*labels, outcome).inc()
        metrics.stage(labels, "total").observe(one.total_ms / 1e3)
        if one.ranking is not None:
            timing = one.ranking.timing
            for stage, spent in (
                ("encode", timing.encode_ms),
                ("queue", timing.queue_ms),
                ("infer", timing.infer_ms),
            ):
                metrics.stage(labels, stage).observe(spent / 1e3)
            metrics.candidates.labels(labels[0]).observe(one.ranking.candidates)
