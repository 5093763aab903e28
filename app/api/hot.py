"""The hot requests, bytes to bytes: what /rank and /recommend do, without a task or a future for each request.

The protocol calls this as soon as a body is complete; the FastAPI routes of the same paths call it for whoever runs the
application on another server. Decoded with msgspec, answered by whoever is told the scores.
"""

import logging
import time
from collections.abc import Callable
from functools import partial

import msgspec

from app.api.body import decode
from app.api.envelope import error_headers, error_payload
from app.api.hot_bodies import RankIds, RankRequest, RecommendRequest
from app.api.known_heads import HOT_PATH, Route
from app.api.large import LARGE_BYTES, Line, Steps
from app.errors import DeadlineExceeded, InvalidInput, Overloaded, ServiceError, is_expected
from app.serving.early import check_awaited, check_there, check_unread, check_wanted
from app.serving.loaded import LoadedModel
from app.serving.metrics import Metrics
from app.serving.observation import Observation
from app.serving.query import Query, RankedItem, Ranking
from app.serving.ranker import Begun, begin, begin_in_steps, finish, score
from app.serving.registry import Registry
from app.serving.waiting import ClientGone, Outcome
from app.settings import Settings

_LOG = logging.getLogger(__name__)
_OK = 200


class _TimingMs(msgspec.Struct, gc=False):
    encode: float
    queue: float
    infer: float
    total: float


class _Answer(msgspec.Struct, gc=False):
    """RankResponse of app/api/answers.py, as fast as it can be written."""

    request_id: str
    model: str
    variant: str
    version: str
    degraded: bool
    degraded_reason: str | None
    items: list[RankedItem]
    unknown_items: list[str]
    unknown_user: bool
    timing_ms: _TimingMs


_RANK_IDS = msgspec.json.Decoder(RankIds)
_RANK = msgspec.json.Decoder(RankRequest)
_RECOMMEND = msgspec.json.Decoder(RecommendRequest)
_ENCODE = msgspec.json.Encoder().encode

Headers = list[tuple[bytes, bytes]]


def _never() -> bool:
    return False


class Ask(msgspec.Struct, gc=False):
    """A hot request, and how to answer it."""

    route: Route
    model: str
    body: bytes | bytearray
    request_id: str
    received: float
    """When its bytes were read, on the clock of time.perf_counter()."""
    gone: Callable[[], bool]
    """Whether the client has left."""
    respond: Callable[[int, bytes, Headers], None]
    """Takes the status, the JSON body, and headers besides its type and length; called at most once."""
    is_doubtful: Callable[[], bool] = _never
    """Whether the client may have left, and will show it soon."""


class Hot:
    """Answers hot requests. Every one is answered, unless its client has left, and counted."""

    def __init__(self, settings: Settings, registry: Registry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._deadline_ms = settings.deadline_ms
        self._max_queue = settings.max_queue
        self._line = Line()

    def answer(self, ask: Ask) -> None:
        """Begin to answer: at once, or when the scores are there. Raises nothing."""
        if len(ask.body) >= LARGE_BYTES:
            self._answer_large(ask)
            return
        observation = Observation(ask.model, ask.received)
        started = time.perf_counter()
        try:
            begun = begin(*self._read(ask, observation))
            work = time.perf_counter() - started
            score(begun, partial(self._scored, ask, observation, begun, work), ask.gone)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._fail(ask, observation, error)

    def _answer_large(self, ask: Ask) -> None:
        if len(self._line) >= self._max_queue:
            self._line.forget_gone()
        if len(self._line) < self._max_queue:
            self._line.add(self._in_steps(ask), ask.is_doubtful, ask.gone)
            return
        full = Overloaded(f"{self._max_queue} large requests are waiting already; try again later")
        self._fail(ask, Observation(ask.model, ask.received), full)

    def _in_steps(self, ask: Ask) -> Steps:
        """The same for a large body. Each step is taken only while there is somebody to answer in time."""
        observation = Observation(ask.model, ask.received)
        try:
            check_there(ask.gone)
            check_wanted(self._registry.get(ask.model), ask.body, ask.received, self._deadline_ms)
            model, query = self._read(ask, observation)
            steps, seconds = begin_in_steps(model, query), 0.0
            while True:
                yield
                check_awaited(ask.gone, query.deadline)
                started = time.perf_counter()
                try:
                    next(steps)
                except StopIteration as ended:
                    begun = ended.value
                    break
                finally:
                    seconds += time.perf_counter() - started
            begun.timing.encode_ms = seconds * 1e3
            # What it took of the loop is not what others take: admission is not told.
            score(begun, partial(self._scored, ask, observation, begun, None), ask.gone)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._fail(ask, observation, error)

    def _read(self, ask: Ask, observation: Observation) -> tuple[LoadedModel, Query]:
        model = self._registry.get(ask.model)
        if ask.route == "rank":
            check_unread(model, ask.body, ask.received, self._deadline_ms)
        query = self._query(ask)
        observation.variant = query.variant
        if query.candidates and isinstance(query.candidates, list):
            model.load.note_size(len(query.candidates), len(ask.body))
        return model, query

    def refuse(self, model: str, received: float, error: ServiceError) -> None:
        """Count a request that was refused before it could be asked here."""
        Observation(model, received).ended(self._metrics, error.code)

    def refuse_path(self, method: str, path: str, error: ServiceError) -> None:
        """The same for a request of this method and path, if it is a hot one."""
        if method == "POST" and (matched := HOT_PATH.fullmatch(path.encode())):
            self.refuse(matched[1].decode(), time.perf_counter(), error)

    def _scored(
        self, ask: Ask, observation: Observation, begun: Begun, work: float | None, outcome: Outcome
    ) -> None:
        observation.variant = begun.choice.variant
        if isinstance(outcome, Exception):
            if isinstance(outcome, DeadlineExceeded) and begun.expected_in_time:
                begun.model.engine.admission.note_missed()
            self._fail(ask, observation, outcome)
            return
        started = time.perf_counter()
        try:
            ranking = finish(begun, outcome)
            observation.answered_by(ranking)
            ask.respond(_OK, _answer(ask, ranking, observation.total_ms), [])
            observation.ended(self._metrics, "ok")
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            self._fail(ask, observation, error)
        if work is not None:
            begun.model.engine.admission.note_work(work + time.perf_counter() - started)
            begun.model.engine.admission.note_answer()

    def _fail(self, ask: Ask, observation: Observation, error: Exception) -> None:
        if isinstance(error, ClientGone):
            observation.ended(self._metrics, "cancelled")
            return
        if not isinstance(error, ServiceError):
            _LOG.error("request %s: unhandled", ask.request_id, exc_info=error)
            error = ServiceError(f"a fault of the service; its log has the cause under {ask.request_id}")
        elif not is_expected(error):
            _LOG.error("request %s: %s: %s", ask.request_id, error.code, error.message)
        observation.ended(self._metrics, error.code)
        ask.respond(error.status, error_payload(error), error_headers(error))

    def _query(self, ask: Ask) -> Query:
        if ask.route == "rank":
            return self._rank_query(ask)
        wanted = decode(ask.body, _RECOMMEND)
        return Query(
            user=wanted.user,
            context=wanted.context,
            candidates=None,
            k=wanted.k,
            variant=wanted.variant,
            deadline=self._deadline(ask, wanted.deadline_ms),
            exclude=wanted.exclude,
            exclude_seen=wanted.exclude_seen,
        )

    def _rank_query(self, ask: Ask) -> Query:
        body: RankRequest | RankIds
        try:
            body = _RANK_IDS.decode(ask.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            body = decode(ask.body, _RANK)  # another form of candidates, or a mistake that this names
        candidates = body.candidates
        are_texts = type(body) is RankIds
        if not are_texts and isinstance(candidates, list) and len(set(map(type, candidates))) > 1:
            raise InvalidInput("candidates: all must be ids, or all must be objects", field="candidates")
        return Query(
            user=body.user,
            context=body.context,
            candidates=candidates,  # type: ignore[arg-type]  # one kind of elements, as was just checked
            k=body.k,
            variant=body.variant,
            deadline=self._deadline(ask, body.deadline_ms),
            are_texts=are_texts,
        )

    def _deadline(self, ask: Ask, deadline_ms: float | None) -> float:
        return ask.received + (self._deadline_ms if deadline_ms is None else deadline_ms) / 1e3


def _answer(ask: Ask, ranking: Ranking, total_ms: float) -> bytes:
    timing = ranking.timing
    return _ENCODE(
        _Answer(
            ask.request_id,
            ask.model,
            ranking.variant,
            ranking.version,
            ranking.degraded_reason is not None,
            ranking.degraded_reason,
            ranking.items,  # type: ignore[arg-type]
            ranking.unknown_items,  # type: ignore[arg-type]
            ranking.unknown_user,
            _TimingMs(
                round(timing.encode_ms, 3),
                round(timing.queue_ms, 3),
                round(timing.infer_ms, 3),
                round(total_ms, 3),
            ),
        )
    )
