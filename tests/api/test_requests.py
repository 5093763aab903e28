"""Paths, methods and ids of requests that nobody planned."""

import re

import pytest
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, RANK, error_of, refused
from tests.small_model import NAME

TRICKS = {
    "up": "%2e%2e",
    "up in capitals": "%2E%2E",
    "here": "%2e",
    "up and in again": f"%2e%2e%2fmodels%2f{NAME}",
    "out": "..%2f..%2fetc%2fpasswd",
    "out by the other slash": "..%5c..%5cetc",
    "an absolute path": "%2fetc%2fpasswd",
    "NUL": "%00",
    "NUL after a name": f"{NAME}%00",
    "not UTF-8": "%ff%fe",
    "overlong": "%c0%ae%c0%ae",
    "twice encoded": "%252e%252e",
    "a line": f"{NAME}%0d%0aX-Evil:%20yes",
    "the catalog": "_catalog",
    "staging": ".staging",
    "capitals": NAME.upper(),
    "long": "x" * 5000,
    "a star": "*",
    "a name that is none": "%20",
}


@pytest.mark.parametrize("name", TRICKS.values(), ids=TRICKS)
def test_no_name_of_a_model_is_a_path(client: TestClient, name: str) -> None:
    body = {"candidates": ["i1"], "policy": {"kind": "ladder"}}
    for method, path in (
        ("GET", f"/v1/models/{name}"),
        ("GET", f"/v1/models/{name}/variants"),
        ("POST", f"/v1/models/{name}/rank"),
        ("POST", f"/v1/models/{name}/recommend"),
        ("POST", f"/admin/models/{name}/activate"),
        ("POST", f"/admin/models/{name}/rollback"),
        ("POST", f"/admin/models/{name}/compress"),
    ):
        sent = {} if path.endswith("compress") else {"policy": body["policy"]}
        response = client.request(method, path, json=sent if method == "POST" else None, headers=ADMIN)
        error = error_of(response)
        assert error["code"] in {"unknown_model", "not_found"}, path
        assert len(error["message"]) < 600
        assert "evil" not in {header.lower() for header in response.headers}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/clicks/rank/",
        "/v1/models/",
        "/health/live/",
        "/nope",
        "/v1",
        "/v1/models/clicks/nope",
        "/admin",
        "/redoc",
        "/static/x",
    ],
)
def test_a_path_that_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        refused(client.request(method, path, headers=ADMIN), "not_found")


@pytest.mark.parametrize(
    "path", ["/page.js%2f..%2f..%2fservice.py", "/static-offline-docs/..%2f..%2fsetup.py"]
)
def test_no_file_but_the_pages_own_is_given_out(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", RANK, "POST"),
        ("PUT", RANK, "POST"),
        ("OPTIONS", RANK, "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", f"/v1/models/{NAME}", "GET"),
        ("POST", "/health/live", "GET"),
        ("PATCH", "/metrics", "GET"),
        ("PUT", "/admin/jobs", "GET"),
        ("GET", f"/admin/models/{NAME}/rollback", "POST"),
        ("TRACE", "/", "GET"),
    ],
)
def test_another_method_is_told_which_one_there_is(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    assert method in refused(response, "method_not_allowed")
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/", "/health/live", "/health/ready", "/v1/models", "/metrics", "/nope", "/admin/jobs"]
)
def test_head_is_get_without_the_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["x-request-id"]


def test_head_of_a_path_that_has_no_get_is_refused(client: TestClient) -> None:
    response = client.head(RANK)
    assert (response.status_code, response.headers["allow"], response.content) == (405, "POST", b"")


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64, "-", "..."])
def test_the_id_of_a_request_is_kept(client: TestClient, given: str) -> None:
    headers = {"X-Request-ID": given}
    assert client.get("/health/live", headers=headers).headers["x-request-id"] == given
    answer = client.post(RANK, json={"candidates": ["i1"]}, headers=headers)
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == given
    assert client.get("/nope", headers=headers).headers["x-request-id"] == given
    assert client.get("/admin/jobs", headers=headers).headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given", ["", " ", "x" * 65, "a b", "a\tb", "ä".encode(), b"\xff", "<script>", 'a"b', "a/b", "a;b"]
)
def test_an_id_that_could_do_harm_is_replaced(client: TestClient, given: str | bytes) -> None:
    found = client.get("/health/live", headers={"X-Request-ID": given}).headers["x-request-id"]  # type: ignore[dict-item]
    assert re.fullmatch(r"[0-9a-f]{16}", found)


def test_every_request_without_an_id_gets_one_of_its_own(client: TestClient) -> None:
    found = {client.get("/health/live").headers["x-request-id"] for _ in range(20)}
    assert len(found) == 20
