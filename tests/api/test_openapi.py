"""The description of the API: valid, complete, and every example in it is a request that the service takes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from app.api.service import create_app
from app.settings import Settings
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, AN_HOUR_MS, STATUS
from tests.small_model import NAME

TO_THE_SMALL_MODEL = {
    '"42"': '"u1"',
    '"50"': '"i1"',
    '"181"': '"i2"',
    '"172"': '"i3"',
    '"release_year": "1998"': '"category": "c1"',
    '"age": "24"': '"segment": "1"',
    '"deadline_ms": 50': f'"deadline_ms": {AN_HOUR_MS}',
}
"""Names of the demo model in examples, and what the small model has instead; and time enough on any machine."""


def described() -> dict[str, Any]:
    app: FastAPI = create_app(Settings())
    return app.openapi()


DOCUMENT = described()
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
NAMED = [f"{method} {path}" for method, path, _ in OPERATIONS]
EXAMPLES = [
    pytest.param(method, path, example["value"], id=f"{path} {title}")
    for method, path, operation in OPERATIONS
    for content in operation.get("requestBody", {}).get("content", {}).values()
    for title, example in content["examples"].items()
]


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(value)


def test_it_is_what_the_service_gives_out(client: TestClient) -> None:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == json.loads(json.dumps(DOCUMENT))


def test_it_is_valid() -> None:
    assert OpenAPI.model_validate(DOCUMENT).openapi.startswith("3.1")
    identities = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(identities)) == len(identities)


def test_every_reference_leads_somewhere() -> None:
    references = {node["$ref"] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert references
    for reference in references:
        found: Any = DOCUMENT
        assert reference.startswith("#/")
        for part in reference[2:].split("/"):
            found = found[part]


def test_every_route_is_described_but_the_page(client: TestClient) -> None:
    hidden = {
        route.path
        for route in client.app.routes  # type: ignore[attr-defined]
        if isinstance(route, APIRoute) and not route.include_in_schema
    }
    assert hidden <= {"/", "/page.js", "/page.css", "/docs", "/docs/oauth2-redirect"}
    assert len(OPERATIONS) == 14


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMED)
def test_every_operation_says_what_it_does_and_what_it_answers(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["description"]
    assert operation["tags"]
    for status, response in operation["responses"].items():
        assert response["description"]
        if status == "default" or int(status) < 400:
            continue
        for content in response.get("content", {}).values():
            for code, example in content.get("examples", {}).items():
                assert STATUS[code] == int(status)
                assert example["value"]["error"]["code"] == code
    codes = {*operation["responses"]}
    assert codes & {"200", "202"}
    assert ("401" in codes) == ("403" in codes) == path.startswith("/admin")
    assert ("security" in operation) == path.startswith("/admin")
    assert ("404" in codes) == ("{" in path)
    assert ("requestBody" in operation) == (method == "POST" and not path.endswith("rollback"))


def test_every_error_has_the_one_form() -> None:
    """FastAPI describes one of its own where it may."""
    forms = DOCUMENT["components"]["schemas"]
    assert not forms.keys() & {"HTTPValidationError", "ValidationError"}
    for _, path, operation in OPERATIONS:
        form = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert form == {"$ref": "#/components/schemas/ErrorAnswer"}, path
    assert forms["ErrorAnswer"]["required"] == ["error"]
    assert set(forms["Error"]["required"]) == {"code", "message", "details"}


def test_every_body_has_examples_and_every_field_of_it_a_description() -> None:
    bodies = [operation["requestBody"] for _, _, operation in OPERATIONS if "requestBody" in operation]
    assert len(bodies) == 4
    for body in bodies:
        content = body["content"]["application/json"]
        assert len(content["examples"]) >= 2
        for name, field in content["schema"]["properties"].items():
            assert any("description" in node for node in nodes(field)), name


@pytest.mark.parametrize(("method", "path", "example"), EXAMPLES)
def test_every_example_is_taken_by_the_service(
    own: TestClient, method: str, path: str, example: dict[str, Any]
) -> None:
    text = json.dumps(example)
    for name, instead in TO_THE_SMALL_MODEL.items():
        text = text.replace(name, instead)
    response: httpx2.Response = own.request(method, path.format(model=NAME), content=text, headers=ADMIN)
    assert response.status_code in {200, 202}, response.text
    if path.startswith("/v1"):
        assert response.json()["items"]
        assert not response.json()["unknown_items"]


def test_the_pages_of_the_api_need_no_network(client: TestClient) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", response.text)
    linked = re.findall(r"(?:src|href)=\"([^\"]+)\"", response.text)
    assert len(linked) >= 3
    for path in linked:
        asset = client.get(path)
        assert asset.status_code == 200, path
        assert len(asset.content) > 100
    assert "/openapi.json" in response.text
