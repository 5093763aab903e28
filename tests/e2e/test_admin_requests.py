"""Admin requests that are refused change nothing, and are told so in few words."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.e2e.running import ADMIN, admin, running
from tests.processes import WAIT_SECONDS, Service
from tests.small_model import NAME, SmallModel


@pytest.fixture(scope="module")
def served(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(small_model.copy(tmp_path_factory.mktemp("admin")), compressor=False) as one:
        yield one


def refused(served: Service, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    url = f"{served.url}/admin{path}"
    response = httpx2.request(method, url, json=body, headers=ADMIN, timeout=WAIT_SECONDS)
    return response.status_code, response.json()["error"]


def active(served: Service) -> Any:
    return served.get(f"/v1/models/{NAME}")


@pytest.mark.parametrize("force", ["yes", "true", "false", "1", 1, 0, 1.0])
def test_what_is_not_a_boolean_forces_nothing(served: Service, force: Any) -> None:
    status, error = refused(served, "POST", f"/models/{NAME}/compress", {"force": force})
    assert (status, error["code"]) == (422, "invalid_input")
    assert "force" in error["message"]
    assert admin(served, "GET", "/jobs")["jobs"] == []


@pytest.mark.parametrize("follow", ["yes", "true", 1])
def test_what_is_not_a_boolean_gives_up_no_policy(served: Service, follow: Any) -> None:
    before = active(served)
    status, error = refused(served, "POST", f"/models/{NAME}/activate", {"follow_card": follow})
    assert (status, error["code"]) == (422, "invalid_input")
    assert "follow_card" in error["message"]
    assert active(served) == before


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_long_name_of_a_job_is_cut_in_the_error(served: Service, method: str) -> None:
    status, error = refused(served, method, "/jobs/" + "a" * 5000)
    assert (status, error["code"]) == (404, "unknown_job")
    assert error["message"] == f"there is no job '{'a' * 100}'"
    assert "a" * 101 not in str(error)
