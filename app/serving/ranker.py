"""From a query to a ranking: choose a variant, encode, score, sort.

`begin` does what comes before the queue and `finish` what comes after it; whoever waits in between does so as it likes.
"""

import math
import time
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Any

import msgspec
import numpy as np

from app.encoding import Array
from app.errors import DeadlineExceeded, InvalidInput, Overloaded
from app.serving.canary import with_canary
from app.serving.ladder import Choice
from app.serving.lane import Lane, keep_pace
from app.serving.loaded import LoadedModel, LoadedVariant
from app.serving.query import Encoded, Query, RankedItem, Ranking, Timing
from app.serving.waiting import Outcome, Scored, Waiting

_FEW = 256
"""So many scores are sorted as fast as they are searched."""
_WORTH_SAVING = 0.02
"""Of the time that is left to a request: less is no reason to answer it by another variant, apart from the others."""
_NO_DISPLAY: dict[str, Any] = {}
_NOTHING = np.zeros(0, dtype=np.float32)


class Begun(msgspec.Struct, frozen=True):
    """A query whose features are ready to be scored by the variant that was chosen."""

    model: LoadedModel
    query: Query
    choice: Choice
    variant: LoadedVariant
    encoded: Encoded
    timing: Timing
    predicted_seconds: float
    expected_in_time: bool
    """Not so for what was let in to try a graph that has not run for a while: it tells nothing of the wait."""


class _Pressure:
    """The present load as the ladder asks for it, for one request."""

    def __init__(self, model: LoadedModel, rows: int, deadline: float) -> None:
        self._model = model
        self._rows = rows
        self._deadline = deadline

    def taken_share(self) -> float:
        return self._model.load.taken_share()

    def utilizations(self, variants: Sequence[str]) -> list[float]:
        lanes = [self._lane(variant) for variant in variants]
        keep_pace(lanes)
        load, busy_seconds = self._model.load, self._model.engine.admission.busy_seconds
        return [load.utilization(lane.share_seconds, busy_seconds) for lane in lanes]

    def meets(self, variant: str) -> bool:
        return self._model.engine.admission.meets(self._lane(variant), self._rows, self._deadline)

    def queue_is_short(self) -> bool:
        left = self._deadline - time.perf_counter()
        return self._model.engine.admission.queue_seconds() <= left / 2

    def saves(self, variant: str, instead_of: str) -> bool:
        rows = self._rows
        saved = self._lane(instead_of).cost.seconds(rows) - self._lane(variant).cost.seconds(rows)
        return saved > 0 and saved >= _WORTH_SAVING * (self._deadline - time.perf_counter())

    def _lane(self, variant: str) -> Lane:
        return self._model.variants[variant].lane


def begin(model: LoadedModel, query: Query) -> Begun:
    """Choose a variant and encode the query for it.

    Raises InvalidInput and UnknownFeature for what the client got wrong, UnknownVariant, NotReady, and Overloaded and
    DeadlineExceeded for a request that would not be scored in time.
    """
    started = time.perf_counter()
    choice, variant, predicted = _choose(model, query)
    encoded = variant.reader.encode(query)
    _note_load(model, choice, encoded.features.rows)
    timing = Timing(encode_ms=(time.perf_counter() - started) * 1e3)
    in_time = started + predicted <= query.deadline
    return Begun(model, query, choice, variant, encoded, timing, predicted, in_time)


def begin_in_steps(model: LoadedModel, query: Query) -> Generator[None, None, Begun]:
    """The same for many candidates that bring features, a few milliseconds in each step; who takes them times them."""
    choice, variant, predicted = _choose(model, query)
    in_time = time.perf_counter() + predicted <= query.deadline
    try:
        query, pieces = yield from variant.reader.encode_pieces(query)
    except GeneratorExit:  # it is given up because others took the time
        _note_load(model, choice, _count(model, query))
        raise
    encoded = variant.reader.encode(query, pieces)
    _note_load(model, choice, encoded.features.rows)
    return Begun(model, query, choice, variant, encoded, Timing(), predicted, in_time)


def _choose(model: LoadedModel, query: Query) -> tuple[Choice, LoadedVariant, float]:
    """Who answers, and the predicted seconds. Before features are read: what is refused must cost little."""
    rows = _count(model, query)
    choice = model.ladder.choose(query.variant, rows, _Pressure(model, rows, query.deadline))
    choice = with_canary(choice, model, query)
    variant = model.variants[choice.variant]
    try:
        return choice, variant, model.engine.admission.check(variant.lane, rows, query.deadline)
    except Overloaded:
        # It is load all the same: else the ladder would step up, and refuse again.
        if choice.is_open:
            model.load.note_asked(rows)
        raise


def _note_load(model: LoadedModel, choice: Choice, rows: int) -> None:
    """What is refused for what it asks is no load, and what names its variant takes the same on every rung."""
    lane = model.variants[choice.variant].lane
    seconds = lane.share_seconds(rows) + model.engine.admission.busy_seconds
    if choice.is_open:
        model.load.note(rows, seconds)
    else:
        model.load.note_fixed(seconds)


def score(one: Begun, done: Callable[[Outcome], None], gone: Callable[[], bool]) -> None:
    """Queue it; `done` is told the outcome on the event loop. Nothing to score is done at once."""
    features = one.encoded.features
    if not features.rows:
        done(Scored(_NOTHING, 0.0, 0.0))
        return
    one.model.engine.batcher.submit(Waiting(one.variant.lane, features, one.query.deadline, done, gone))


def finish(one: Begun, scored: Scored) -> Ranking:
    """The ranking. Raises InvalidInput when the features led to scores that are no numbers, DeadlineExceeded when they
    were ready too late."""
    encoded, timing = one.encoded, one.timing
    timing.queue_ms, timing.infer_ms = scored.queue_seconds * 1e3, scored.infer_seconds * 1e3
    if len(scored.scores):
        if one.expected_in_time:
            one.model.engine.admission.note_end(one.query.deadline)
        one.model.engine.admission.note(one.predicted_seconds, scored.queue_seconds + scored.infer_seconds)
    late = time.perf_counter() - one.query.deadline
    if late > 0:
        raise DeadlineExceeded(
            f"the scores were ready {late * 1e3:.3g} ms after the deadline; "
            "ask for fewer candidates or allow more time"
        )
    # Scores are at most 1 each: their sum is finite unless one of them is not.
    if not math.isfinite(scored.scores.sum()):
        raise InvalidInput(
            "the model gives no finite score for these features; numbers in them may be too large"
        )
    if one.model.shadow is not None:
        one.model.shadow.offer(one.choice.variant, one.variant.reader, one.query, encoded, scored.scores)
    return Ranking(
        variant=one.choice.variant,
        version=one.variant.rung.version,
        degraded_reason=one.choice.degraded_reason,
        items=_items(one.variant, encoded, scored.scores, one.query.k),
        unknown_items=encoded.unknown_items,
        unknown_user=encoded.unknown_user,
        candidates=encoded.features.rows,
        timing=timing,
    )


def _count(model: LoadedModel, query: Query) -> int:
    """How many candidates the query asks about, before it is read closely; no more than are taken."""
    reader = model.any_reader
    if query.candidates is None:
        return len(reader.catalog.item_ids) if reader else 1
    if isinstance(query.candidates, dict):
        count = max((len(values) for values in query.candidates.values()), default=1)
    else:
        count = len(query.candidates)
    return min(count, reader.max_candidates) if reader else count


def best(scores: Array, k: int | None) -> Array:
    """Positions of the `k` best scores (all, with None), best first; equal scores keep their order."""
    if k is None or k >= len(scores) or len(scores) <= _FEW:
        return np.argsort(-scores, kind="stable")[:k]
    # The k-th best score; everything above it is in, and of its equals the first ones.
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    close = np.flatnonzero(scores >= threshold)
    return close[np.argsort(-scores[close], kind="stable")][:k]


def _items(variant: LoadedVariant, encoded: Encoded, scores: Array, k: int | None) -> list[RankedItem]:
    display = variant.reader.catalog.display
    order = best(scores, k)
    places, ids = order.tolist(), encoded.item_ids
    ranked = zip(places, scores.take(order).tolist(), count(1))
    if not display:
        return [RankedItem(ids[position], score, place, _NO_DISPLAY) for position, score, place in ranked]
    rows = encoded.catalog_rows.take(order).tolist()
    names, columns = tuple(display), tuple(display.values())
    return [
        RankedItem(
            ids[position],
            score,
            place,
            dict(zip(names, [values[row] for values in columns], strict=True)) if row >= 0 else _NO_DISPLAY,
        )
        for (position, score, place), row in zip(ranked, rows, strict=True)
    ]
