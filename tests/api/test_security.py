"""The admin key: every admin route asks for it, in either of two headers, and nothing else opens them."""

from collections.abc import Iterator

import pytest
from app.api.answers import JobList
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, KEY, answered, refused, serving
from tests.small_model import NAME, SmallModel

JOBS = "/admin/jobs"
WRONG = {
    "no key": {},
    "an empty bearer": {"Authorization": "Bearer "},
    "no bearer": {"Authorization": KEY},
    "another scheme": {"Authorization": f"Basic {KEY}"},
    "another key": {"Authorization": "Bearer another-key"},
    "half the key": {"Authorization": f"Bearer {KEY[:-1]}"},
    "more than the key": {"Authorization": f"Bearer {KEY}x"},
    "an empty header": {"X-API-Key": ""},
    "another key in the header": {"X-API-Key": "another-key"},
    "a bearer in the header": {"X-API-Key": f"Bearer {KEY}"},
    "the key in capitals": {"X-API-Key": KEY.upper()},
    "bytes that are not ASCII": {"X-API-Key": b"\xff\xfe"},
    "a bearer that is not ASCII": {"Authorization": b"Bearer \xc3\xbc\x80"},
    "a wrong bearer beside the key": {"Authorization": "Bearer another-key", "X-API-Key": KEY},
}


def admin_routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every route below /admin, by its own description."""
    found = [
        (method.upper(), path.format(model=NAME, job="0a1b2c3d"))
        for path, methods in app.openapi()["paths"].items()
        if path.startswith("/admin")
        for method in methods
    ]
    assert len(found) >= 6
    return found


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_without_the_key_every_admin_route_is_unauthorized(
    client: TestClient, headers: dict[str, str | bytes]
) -> None:
    for method, path in admin_routes(client.app):  # type: ignore[arg-type]
        response = client.request(method, path, headers=headers, content=b"not even JSON")
        refused(response, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
        assert KEY not in response.text


@pytest.mark.parametrize(
    "headers",
    [
        ADMIN,
        {"Authorization": f"bearer {KEY}"},
        {"X-API-Key": KEY},
        {"x-api-key": KEY},
        {"Authorization": "Basic of-a-proxy", "X-API-Key": KEY},
        {"Authorization": f"Bearer {KEY}", "X-API-Key": "another-key"},
    ],
    ids=str,
)
def test_either_header_with_the_key_opens_them(client: TestClient, headers: dict[str, str]) -> None:
    answered(client.get(JOBS, headers=headers), JobList)


@pytest.fixture(scope="module")
def closed(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service without a key."""
    with serving(small_model.copy(tmp_path_factory.mktemp("closed")), admin_key=None) as one:
        yield one


@pytest.mark.parametrize("headers", [{}, ADMIN, {"X-API-Key": ""}], ids=str)
def test_without_a_key_of_its_own_the_service_keeps_them_closed(
    closed: TestClient, headers: dict[str, str]
) -> None:
    for method, path in admin_routes(closed.app):  # type: ignore[arg-type]
        assert "SLIMRANK_ADMIN_KEY" in refused(
            closed.request(method, path, headers=headers, content=b"{}"), "admin_closed"
        )


def test_an_empty_key_is_no_key(small_model: SmallModel) -> None:
    with serving(small_model, admin_key="") as one:
        refused(one.get(JOBS, headers={"X-API-Key": ""}), "admin_closed")


def test_a_key_beyond_ascii_is_compared_as_utf_8(small: SmallModel) -> None:
    key = "schlüssel-日本"
    with serving(small, admin_key=key) as one:
        for headers in ({"X-API-Key": key.encode()}, {"Authorization": b"Bearer " + key.encode()}):
            answered(one.get(JOBS, headers=headers), JobList)
        refused(one.get(JOBS, headers={"X-API-Key": "schlüssel".encode()}), "unauthorized")
        refused(one.get(JOBS, headers={"X-API-Key": "schlüssel".encode("latin-1")}), "unauthorized")


def test_other_routes_ask_for_no_key(client: TestClient) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/v1/models", "/docs", "/", "/openapi.json"):
        assert client.get(path).status_code == 200
