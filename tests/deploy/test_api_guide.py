"""The API guide names every route and every error, and its examples are well-formed requests to those routes."""

import json
import re
import shlex

import pytest
from app.api.answers import JobAnswer
from app.api.service import create_app
from app.errors import ServiceError
from app.settings import Settings
from fastapi import FastAPI
from starlette.routing import Match

from tests.deploy.dockerfile import ROOT
from tests.deploy.markdown import blocks, rows

GUIDE = (ROOT / "docs" / "api.md").read_text()
_ROUTE = re.compile(r"`(GET|POST|DELETE) (/\S*)`")
ADDRESS = "http://127.0.0.1:8000"


def documented_routes() -> set[tuple[str, str]]:
    return {match.groups() for row in rows(GUIDE, "## Routes") if (match := _ROUTE.search(row[0]))}


def curl_examples() -> list[list[str]]:
    text = "\n".join(blocks(GUIDE, "sh")).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.startswith("curl ")]


def option(arguments: list[str], name: str) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def method_and_path(arguments: list[str]) -> tuple[str, str]:
    (url,) = (one for one in arguments if one.startswith("http"))
    assert url.startswith(ADDRESS)
    return option(arguments, "-X") or "GET", url.removeprefix(ADDRESS)


def shape(routes: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The routes without the names of their parameters."""
    return {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in routes}


def answers(app: FastAPI, method: str, path: str) -> bool:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


def test_the_routes_are_those_of_the_service(tmp_path):
    app = create_app(Settings(store=tmp_path / "store", models=tmp_path))
    documented = documented_routes()
    assert [one for one in sorted(documented) if not answers(app, *one)] == []
    described = {(m.upper(), path) for path, methods in app.openapi()["paths"].items() for m in methods}
    assert sorted(shape(described) - shape(documented)) == []


def every_error(root: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    return [root, *(one for child in root.__subclasses__() for one in every_error(child))]


def test_every_error_is_there_with_its_status():
    documented = {row[0].strip("`"): int(row[1]) for row in rows(GUIDE, "## Errors")}
    assert documented == {
        error.code: error.status for error in every_error() if error.__module__ == "app.errors"
    }


def test_every_field_of_a_job_is_there():
    assert [row[0].strip("`") for row in rows(GUIDE, "### Jobs")] == list(JobAnswer.model_fields)


@pytest.mark.parametrize("arguments", curl_examples(), ids=lambda one: " ".join(method_and_path(one)))
def test_each_curl_example_is_a_request_to_a_documented_route(arguments):
    method, path = method_and_path(arguments)
    routes = [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(one)) for m, one in documented_routes() if m == method]
    assert any(re.fullmatch(one, path) for one in routes)
    body = option(arguments, "-d")
    if body is not None:
        assert isinstance(json.loads(body), dict)
    key = "Authorization: Bearer $SLIMRANK_ADMIN_KEY"
    assert (key in arguments) is path.startswith("/admin/")


def test_each_json_example_is_json():
    for block in blocks(GUIDE, "json"):
        for line in block.splitlines():
            json.loads(line)
