"""The page at /: its three files, bound to this service by its content security policy."""

import re

import pytest
from fastapi.testclient import TestClient

FILES = {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"}


@pytest.mark.parametrize(("path", "kind"), FILES.items())
def test_each_file_is_there_and_may_load_nothing_from_elsewhere(
    client: TestClient, path: str, kind: str
) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].split(";")[0] == kind
    assert response.headers["content-security-policy"] == "default-src 'self'; frame-ancestors 'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-request-id"]
    assert not re.search(r"https?://(?!www\.w3\.org/)", response.text), "but for the name space of SVG"


def test_everything_that_the_page_links_to_is_there(client: TestClient) -> None:
    linked = re.findall(r"(?:src|href)=\"([^\"]+)\"", client.get("/").text)
    assert {"page.js", "page.css", "docs", "metrics", "health/ready"} <= {*linked}
    for path in linked:
        if not path.startswith("data:"):
            assert client.get(f"/{path}").status_code == 200, path


def test_the_page_keeps_its_own_policy(client: TestClient) -> None:
    page, script = client.get("/").text, client.get("/page.js").text
    assert not re.search(r"<style|<script(?! src=)|\son\w+=|\sstyle=", page)
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", script)


def test_the_script_finds_every_part_of_the_page(client: TestClient) -> None:
    page, script = client.get("/").text, client.get("/page.js").text
    wanted = set(re.findall(r"find\(\"(\w+)\"\)", script))
    assert wanted
    assert wanted <= set(re.findall(r"\sid=\"(\w+)\"", page))


def test_the_script_asks_for_routes_that_there_are(client: TestClient) -> None:
    asked = re.findall(r"ask\((?:`([^`]+)`|\"([^\"]+)\")", client.get("/page.js").text)
    paths = {re.sub(r"\$\{[^}]*\}", "{model}", f"/{one or other}") for one, other in asked}
    assert (
        paths
        == {
            "/v1/models",
            "/v1/models/{model}",
            "/v1/models/{model}/variants",
            "/v1/models/{model}/recommend",
        }
        & client.get("/openapi.json").json()["paths"].keys()
    )
