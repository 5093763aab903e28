"""The shadow of a model: a share of its answered requests is scored by another variant too, and compared.

Clients never see it. What is sampled here waits in the worker's ShadowQueue, which works only while serving does not.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from app import active
from app.encoding import Array
from app.errors import ServiceError
from app.serving.even_sample import EvenSample
from app.serving.features import FeatureReader
from app.serving.fidelity import Fidelity, compare
from app.serving.lane import Lane
from app.serving.query import Encoded, Features, Query
from app.serving.shadow_metrics import Labels
from app.serving.shadow_queue import ShadowQueue, Skipped

ROWS_PER_RUN = 128
"""Most rows of one run: a request that comes meanwhile waits for no more than that."""


class Scoring(Protocol):
    """What is needed of a loaded variant: who encodes for it, and who runs its graph."""

    @property
    def reader(self) -> FeatureReader: ...  # noqa: D102

    @property
    def lane(self) -> Lane: ...  # noqa: D102


class Shadow:
    """What a model's policy asks to be compared. `offer` is on the hot path: it samples and queues, no more."""

    def __init__(
        self, model: str, policy: active.Shadow, variants: Mapping[str, Scoring], queue: ShadowQueue
    ) -> None:
        self._model = model
        self._against = policy.variant
        self._share = policy.percent / 100
        self._scoring = variants.get(policy.variant)
        self._queue = queue
        self._sample = EvenSample()

    def offer(
        self, variant: str, reader: FeatureReader, query: Query, encoded: Encoded, scores: Array
    ) -> None:
        """Let an answered request be compared, if it is in the sample.

        `encoded` is the query as the variant's `reader` encoded it, `scores`, float32 [rows], what it was answered.
        """
        if variant == self._against or not self._is_sampled():
            return
        labels = (self._model, variant, self._against)
        if self._scoring is None:
            self._queue.skip(labels, "not_loaded")
        elif len(scores) < 2:
            self._queue.skip(labels, "too_few")
        else:
            same = self._scoring.reader is reader
            self._queue.put(Comparison(labels, self._scoring, encoded, scores, None if same else query))

    def _is_sampled(self) -> bool:
        return self._sample.takes(self._share)


class Comparison:
    """One request, to be scored again; `query` goes with it where the other variant has another catalog."""

    def __init__(
        self, labels: Labels, scoring: Scoring, encoded: Encoded, scores: Array, query: Query | None
    ) -> None:
        self.labels = labels
        self.rows = len(scores)
        self._scoring = scoring
        self._encoded = encoded
        self._scores = scores
        self._query = query

    def steps(self) -> Iterator[Fidelity | None]:
        """Do the work in short steps; the last one gives the result. Raises Skipped, and what the session raises."""
        features, served = self._encoded.features, self._scores
        if self._query is not None:
            features, served = self._encoded_again(self._query)
            yield None
        pieces = []
        for start in range(0, features.rows, ROWS_PER_RUN):
            stop = min(start + ROWS_PER_RUN, features.rows)
            pieces.append(self._scoring.lane.score(features, start, stop))
            yield None
        scores = np.concatenate(pieces)
        if not np.isfinite(scores).all():
            raise Skipped("not_finite")
        yield compare(served, scores)

    def _encoded_again(self, query: Query) -> tuple[Features, Array]:
        """Features by the other's catalog, and the served scores, of the candidates that both of them ranked."""
        try:
            again = self._scoring.reader.encode(query)
        except ServiceError as error:
            raise Skipped("encoding") from error
        served_at = {item_id: position for position, item_id in enumerate(self._encoded.item_ids)}
        both = [(row, served_at[one]) for row, one in enumerate(again.item_ids) if one in served_at]
        if len(both) < 2:
            raise Skipped("too_few")
        rows, positions = np.array(both, dtype=np.int64).T
        found = again.features
        item_features = {feature.name for feature in self._scoring.reader.schema.item_features}
        inputs = {n: v[rows] if n in item_features else v for n, v in found.inputs.items()}
        catalog_rows = None if found.catalog_rows is None else found.catalog_rows[rows]
        return Features(inputs, len(rows), catalog_rows), self._scores[positions]
