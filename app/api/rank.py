"""POST /v1/models/{model}/rank and /recommend: the two hot routes."""

import time
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from app.api.answers import RankResponse
from app.api.body import MODEL_PARAMETER, described, read_body
from app.api.envelope import error_examples
from app.api.state import Service
from app.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidInput,
    NotReady,
    Overloaded,
    UnknownFeature,
    UnknownModel,
    UnknownVariant,
)
from app.serving.observation import Observation, observed
from app.serving.query import Query, Ranking
from app.serving.ranker import rank

router = APIRouter(prefix="/v1/models/{model}", tags=["ranking"])
_ERRORS = error_examples(
    *(UnknownModel, UnknownVariant, BodyTooLarge, InvalidInput, UnknownFeature, Overloaded, NotReady),
    DeadlineExceeded,
)
_JSON = "application/json"

Values = Annotated[dict[str, Any], Meta(description="Values by the name of the feature.")]
K = Annotated[int, Meta(ge=1, le=1_000_000)]
Variant = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="`auto` follows the model's policy; a name asks for that variant.",
    ),
]
DeadlineMs = Annotated[
    float,
    Meta(gt=0, le=3_600_000, description="Drop the request when it is not scored within these milliseconds."),
]


class RankRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which candidates to rank, for whom."""

    candidates: Annotated[
        list[str | dict[str, Any]] | dict[str, list[Any]],
        Meta(description="Ids, or an object for each candidate, or a list for each feature."),
    ]
    user: Values = {}
    context: Values = {}
    k: Annotated[K | None, Meta(description="How many of the best to return; without it, all.")] = None
    variant: Variant = "auto"
    deadline_ms: DeadlineMs | None = None


class RecommendRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """For whom to rank the whole catalog."""

    user: Values = {}
    context: Values = {}
    k: Annotated[K, Meta(description="How many of the best to return.")] = 10
    variant: Variant = "auto"
    deadline_ms: DeadlineMs | None = None
    exclude: Annotated[list[str], Meta(max_length=100_000, description="Ids of items to leave out.")] = []
    exclude_seen: Annotated[
        bool, Meta(description="Leave out what the user has interacted with already.")
    ] = True


_RANK = msgspec.json.Decoder(RankRequest)
_RECOMMEND = msgspec.json.Decoder(RecommendRequest)


@router.post(
    "/rank",
    response_model=None,
    responses={200: {"model": RankResponse}, **_ERRORS},
    openapi_extra={"parameters": [MODEL_PARAMETER]}
    | described(
        RankRequest,
        {
            "ids": {"user": {"user_id": "42"}, "candidates": ["50", "181", "172"], "k": 2},
            "objects": {
                "user": {"user_id": "42"},
                "candidates": [{"item_id": "50"}, {"item_id": "a-new-film", "release_year": "1998"}],
                "variant": "baseline",
            },
            "columns": {"user": {"age": "24"}, "candidates": {"item_id": ["50", "181"]}, "deadline_ms": 50},
        },
    ),
)
async def rank_candidates(request: Request) -> Response:
    """Rank the candidates that the request names, best first."""
    model, parts = _of(request)
    with observed(parts.metrics, model) as observation:
        loaded = parts.registry.get(model)
        body = await read_body(request, _RANK)
        candidates = body.candidates
        if isinstance(candidates, list) and len({type(one) for one in candidates}) > 1:
            raise InvalidInput("candidates: all must be ids, or all must be objects", field="candidates")
        observation.variant = body.variant
        query = Query(
            user=body.user,
            context=body.context,
            candidates=candidates,  # type: ignore[arg-type]  # one kind of elements, as was just checked
            k=body.k,
            variant=body.variant,
            deadline=_deadline(parts, body.deadline_ms),
        )
        ranking = await rank(loaded, query)
        observation.answered_by(ranking)
        return _response(request, model, ranking, observation)


@router.post(
    "/recommend",
    response_model=None,
    responses={200: {"model": RankResponse}, **_ERRORS},
    openapi_extra={"parameters": [MODEL_PARAMETER]}
    | described(
        RecommendRequest,
        {
            "for a user": {"user": {"user_id": "42"}, "k": 5},
            "without some": {"user": {"user_id": "42"}, "k": 5, "exclude": ["50"], "exclude_seen": False},
        },
    ),
)
async def recommend(request: Request) -> Response:
    """Rank the whole catalog and give the best."""
    model, parts = _of(request)
    with observed(parts.metrics, model) as observation:
        loaded = parts.registry.get(model)
        body = await read_body(request, _RECOMMEND)
        observation.variant = body.variant
        query = Query(
            user=body.user,
            context=body.context,
            candidates=None,
            k=body.k,
            variant=body.variant,
            deadline=_deadline(parts, body.deadline_ms),
            exclude=body.exclude,
            exclude_seen=body.exclude_seen,
        )
        ranking = await rank(loaded, query)
        observation.answered_by(ranking)
        return _response(request, model, ranking, observation)


def _of(request: Request) -> tuple[str, Service]:
    """The model's name and the worker's parts. Parameters of the route would cost a tenth of a short request."""
    parts: Service = request.app.state.service
    return request.path_params["model"], parts


def _deadline(parts: Service, deadline_ms: float | None) -> float:
    milliseconds = parts.settings.deadline_ms if deadline_ms is None else deadline_ms
    return time.perf_counter() + milliseconds / 1e3


def _response(request: Request, model: str, ranking: Ranking, observation: Observation) -> Response:
    timing = ranking.timing
    content = {
        "request_id": request.state.request_id,
        "model": model,
        "variant": ranking.variant,
        "version": ranking.version,
        "degraded": ranking.degraded_reason is not None,
        "degraded_reason": ranking.degraded_reason,
        "items": ranking.items,
        "unknown_items": ranking.unknown_items,
        "unknown_user": ranking.unknown_user,
        "timing_ms": {
            "encode": round(timing.encode_ms, 3),
            "queue": round(timing.queue_ms, 3),
            "infer": round(timing.infer_ms, 3),
            "total": round(observation.total_ms, 3),
        },
    }
    return Response(orjson.dumps(content), media_type=_JSON)
