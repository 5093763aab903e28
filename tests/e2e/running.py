"""The real service over a small model, and what tests ask of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.e2e.load import BODY
from tests.processes import REAL_SERVICE, WAIT_SECONDS, Service, eventually, service
from tests.small_model import SmallModel

KEY = "a-key-of-the-tests"
# A job is some seconds of work; beside others, on a slow machine, it takes minutes.
JOB_SECONDS = 600.0
ADMIN = {"Authorization": f"Bearer {KEY}"}


@contextmanager
def running(small: SmallModel, *, ready: bool = True, **settings: Any) -> Iterator[Service]:
    """`slimrank serve` with these settings; with `ready`, once it answers for its model.

    A job has the tests' own priority: with less it may get nothing of a machine that is full.
    """
    settings = {
        "admin_key": KEY, "cache": small.cache, "poll_seconds": 0.1, "compressor_nice": 0,
        "compressor_idle": False, **settings,
    }  # fmt: skip
    with service(small.models.parent, command=REAL_SERVICE, **settings) as one:
        if ready:
            eventually(lambda: is_ready(one), "readiness")
        yield one


def is_ready(one: Service) -> bool:
    return httpx2.get(one.url + "/health/ready", timeout=WAIT_SECONDS).status_code == 200


def rank(one: Service, **changes: Any) -> httpx2.Response:
    return httpx2.post(one.url + "/v1/models/clicks/rank", json=BODY | changes, timeout=WAIT_SECONDS)


def admin(one: Service, method: str, path: str, body: Any = None) -> Any:
    response = httpx2.request(
        method, f"{one.url}/admin{path}", json=body, headers=ADMIN, timeout=WAIT_SECONDS
    )
    assert response.status_code < 300, response.text
    return response.json()


def finished(one: Service, job: str) -> Any:
    """The job, once it has ended."""

    def ended() -> Any:
        found = admin(one, "GET", f"/jobs/{job}")
        return found if found["state"] in {"succeeded", "failed", "cancelled"} else None

    return eventually(ended, "the end of the job", JOB_SECONDS)
