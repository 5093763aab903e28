"""From a query to a ranking: choose a variant, encode, score, sort."""

import time

import numpy as np

from app.encoding import Array
from app.errors import DeadlineExceeded, InvalidInput
from app.serving.canary import with_canary
from app.serving.ladder import choose
from app.serving.loaded import LoadedModel, LoadedVariant
from app.serving.query import Encoded, Query, RankedItem, Ranking, Timing


async def rank(model: LoadedModel, query: Query) -> Ranking:
    """The answer to one query.

    Raises InvalidInput and UnknownFeature for what the client got wrong, UnknownVariant, NotReady, Overloaded, and
    DeadlineExceeded when the deadline passes before the scores are computed.
    """
    choice = choose(
        query.variant, model.active.state, model.rungs, frozenset(model.variants), _count(model, query)
    )
    choice = with_canary(choice, model, query)
    variant = model.variants[choice.variant]
    timing = Timing()
    started = time.perf_counter()
    encoded = variant.reader.encode(query)
    timing.encode_ms = (time.perf_counter() - started) * 1e3
    scores = await _scores(variant, encoded, query.deadline, timing)
    if model.shadow is not None:
        model.shadow.offer(choice.variant, variant.reader, query, encoded, scores)
    return Ranking(
        variant=choice.variant,
        version=variant.rung.version,
        degraded_reason=choice.degraded_reason,
        items=_items(variant, encoded, scores, query.k),
        unknown_items=encoded.unknown_items,
        unknown_user=encoded.unknown_user,
        candidates=encoded.features.rows,
        timing=timing,
    )


async def _scores(variant: LoadedVariant, encoded: Encoded, deadline: float, timing: Timing) -> Array:
    if not encoded.features.rows:
        return np.zeros(0, dtype=np.float32)
    if time.perf_counter() >= deadline:
        raise DeadlineExceeded("the deadline passed before the request was encoded; nothing was computed")
    scored = await variant.batcher.score(encoded.features, deadline)
    timing.queue_ms, timing.infer_ms = scored.queue_seconds * 1e3, scored.infer_seconds * 1e3
    if not np.isfinite(scored.scores).all():
        raise InvalidInput(
            "the model gives no finite score for these features; numbers in them may be too large"
        )
    return scored.scores


def _count(model: LoadedModel, query: Query) -> int:
    """How many candidates the query asks about, before it is read closely."""
    reader = model.any_reader
    if query.candidates is None:
        return len(reader.catalog.item_ids) if reader else 1
    if isinstance(query.candidates, dict):
        return max((len(values) for values in query.candidates.values()), default=1)
    return len(query.candidates)


def best(scores: Array, k: int | None) -> Array:
    """Positions of the `k` best scores (all, with None), best first; equal scores keep their order."""
    if k is None or k >= len(scores):
        return np.argsort(-scores, kind="stable")
    # The k-th best score; everything above it is in, and of its equals the first ones.
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    close = np.flatnonzero(scores >= threshold)
    return close[np.argsort(-scores[close], kind="stable")][:k]


def _items(variant: LoadedVariant, encoded: Encoded, scores: Array, k: int | None) -> list[RankedItem]:
    display = variant.reader.catalog.display
    order = best(scores, k)
    rows = encoded.catalog_rows[order].tolist()
    ids = encoded.item_ids
    return [
        RankedItem(
            ids[position],
            score,
            place,
            {name: values[row] for name, values in display.items()} if row >= 0 else {},
        )
        for place, (position, score, row) in enumerate(
            zip(order.tolist(), scores[order].tolist(), rows, strict=True), start=1
        )
    ]
