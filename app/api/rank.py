"""POST /v1/models/{model}/rank and /recommend: the two hot routes."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.answers import RankResponse
from app.api.body import MODEL_PARAMETER, described, read_body
from app.api.envelope import error_examples
from app.api.hot import Ask, Headers, Hot
from app.api.hot_bodies import RankRequest, RecommendRequest
from app.api.known_heads import Route
from app.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidInput,
    NotReady,
    Overloaded,
    ServiceError,
    UnknownFeature,
    UnknownModel,
    UnknownVariant,
)

_NOBODY_READS_IT = 499
router = APIRouter(prefix="/v1/models/{model}", tags=["ranking"])
_ERRORS = error_examples(
    *(UnknownModel, UnknownVariant, BodyTooLarge, InvalidInput, UnknownFeature, Overloaded, NotReady),
    DeadlineExceeded,
)


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
    return await _answered(request, "rank")


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
    return await _answered(request, "recommend")


async def _answered(request: Request, route: Route) -> Response:
    """The same answer as the protocol's, for requests that come another way."""
    hot: Hot = request.app.state.hot
    model, received = request.path_params["model"], time.perf_counter()
    try:
        body = await read_body(request)
    except ServiceError as error:
        hot.refuse(model, received, error)
        raise
    received = time.perf_counter()  # how long the client took to send it is no part of its deadline
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def respond(status: int, payload: bytes, headers: Headers) -> None:
        response = Response(payload, status, media_type="application/json")
        response.raw_headers.extend(headers)
        if not future.done():
            future.set_result(response)

    hot.answer(Ask(route, model, body, request.state.request_id, received, future.cancelled, respond))
    left = asyncio.ensure_future(_left(request))
    either: list[asyncio.Future[Any]] = [future, left]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        future.cancel()  # whoever has the request, unanswered, sees that and does no more for it
    return Response(status_code=_NOBODY_READS_IT) if future.cancelled() else future.result()


async def _left(request: Request) -> None:
    """Ends when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
