"""What every answer of the API must be, whatever was asked."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from app.api.answers import RankResponse
from app.api.service import create_app
from app.errors import ServiceError
from fastapi.testclient import TestClient
from pydantic import BaseModel

from tests.small_model import NAME, SmallModel

M = TypeVar("M", bound=BaseModel)
KEY = "a-key-of-the-tests"
ADMIN = {"Authorization": f"Bearer {KEY}"}
AN_HOUR_MS = 3_600_000.0
RANK = f"/v1/models/{NAME}/rank"
RECOMMEND = f"/v1/models/{NAME}/recommend"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def every_error(root: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    return [root, *(one for child in root.__subclasses__() for one in every_error(child))]


STATUS = {error.code: error.status for error in every_error() if error.__module__ == "app.errors"}


@contextmanager
def serving(small: SmallModel, **settings: Any) -> Iterator[TestClient]:
    """The real application over the small model's store; it looks for changes only when it is told to.

    However long the machine stands still, no deadline passes but those that requests name.
    """
    settings = {"admin_key": KEY, "poll_seconds": 3600.0, "deadline_ms": AN_HOUR_MS} | settings
    with TestClient(create_app(small.settings(**settings)), raise_server_exceptions=False) as client:
        yield client


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error, which has the one form that is documented, and the status of its code."""
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert content.keys() == {"error"}
    error: dict[str, Any] = content["error"]
    assert error.keys() == {"code", "message", "details"}
    assert STATUS[error["code"]] == response.status_code
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["details"], dict)
    assert _REQUEST_ID.fullmatch(response.headers["x-request-id"])
    return error


def refused(response: httpx2.Response, code: str) -> str:
    """The message of an error with this code."""
    error = error_of(response)
    assert error["code"] == code, error
    message: str = error["message"]
    return message


def answered(response: httpx2.Response, kind: type[M], status: int = 200) -> M:
    """The answer, which is of the documented kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert _REQUEST_ID.fullmatch(response.headers["x-request-id"])
    return kind.model_validate_json(response.content, strict=True)


def ranking_of(response: httpx2.Response) -> RankResponse:
    """A ranking that keeps what the API guide promises of every one."""
    found = answered(response, RankResponse)
    json.loads(response.content, parse_constant=lambda name: 1 / 0)  # JSON has no NaN
    scores = [one.score for one in found.items]
    assert all(math.isfinite(one) for one in scores)
    assert scores == sorted(scores, reverse=True)
    assert [one.rank for one in found.items] == list(range(1, len(scores) + 1))
    assert len({one.item_id for one in found.items}) == len(scores)
    assert found.degraded == (found.degraded_reason is not None)
    assert found.request_id == response.headers["x-request-id"]
    timing = found.timing_ms
    assert min(timing.encode, timing.queue, timing.infer) >= 0
    assert timing.total > 0
    return found


def look_at_the_store(own: TestClient) -> None:
    """What the registry does every SLIMRANK_POLL_SECONDS."""
    registry = own.app.state.service.registry  # type: ignore[attr-defined]
    assert own.portal is not None
    own.portal.call(registry.refresh)
