"""Clients that leave before they have sent what they announced: nobody's fault but theirs."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, RANK, RECOMMEND
from tests.small_model import NAME

TAKING_A_BODY = (RANK, RECOMMEND, f"/admin/models/{NAME}/activate", f"/admin/models/{NAME}/compress")


def leave(client: TestClient, path: str) -> int:
    """Send half a body and go; gives the status that nobody reads."""
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [
            (b"content-length", b"100"),
            *((n.lower().encode(), v.encode()) for n, v in ADMIN.items()),
        ],
    }
    sent = iter(
        (
            {"type": "http.request", "body": b'{"candidates": [', "more_body": True},
            {"type": "http.disconnect"},
        )
    )
    answers: list[Any] = []

    async def receive() -> Any:
        return next(sent)

    async def send(message: Any) -> None:
        answers.append(message)

    client.portal.call(client.app, scope, receive, send)  # type: ignore[union-attr,arg-type]
    status: int = answers[0]["status"]
    return status


@pytest.mark.parametrize("path", TAKING_A_BODY)
def test_a_client_that_leaves_within_its_body_is_no_fault_of_the_service(
    own: TestClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert leave(own, path) == 422
    assert caplog.records == []
    assert 'outcome="internal"' not in own.get("/metrics").text


def test_a_client_that_leaves_is_counted(own: TestClient) -> None:
    leave(own, RANK)
    line = f'slimrank_requests_total{{model="{NAME}",outcome="invalid_input",variant=""}} 1.0'
    assert line in own.get("/metrics").text
