"""active.json damaged by hand under a running service, and the way out, on the real command line."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
from app.store import ACTIVE_FILE, DAMAGED_FILE

from tests.e2e.load import BODY, continuous_load
from tests.e2e.running import ADMIN, admin, is_ready, rank, running
from tests.processes import WAIT_SECONDS, Service, environment, eventually
from tests.small_model import NAME, SmallModel


def slimrank(small: SmallModel, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli.main", *arguments],
        env=environment(store=small.store_folder, models=small.models) | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


def failures(one: Service) -> list[dict[str, str]]:
    """What either worker says that it could not load, and why."""
    answers = of_both_workers(one, "GET", "/health/ready")
    return [answer["models"][NAME]["failures"] for answer in answers]


def refused(one: Service, method: str, path: str, body: Any = None) -> str:
    """The message of the error that says that the state is damaged."""
    response = httpx2.request(method, one.url + path, json=body, headers=ADMIN, timeout=WAIT_SECONDS)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (409, "active_corrupt")
    message: str = error["message"]
    return message


def of_both_workers(one: Service, method: str, path: str, body: Any = None) -> list[Any]:
    """The answers of both workers, which are told apart by the digits that their requests' ids begin with."""
    answers: dict[str, Any] = {}
    with ExitStack() as opened:

        def both_have_answered() -> bool:
            """Whoever has more connections leaves the next one to the other."""
            client = opened.enter_context(httpx2.Client(base_url=one.url, timeout=WAIT_SECONDS))
            answer = client.request(method, path, json=body)
            answers[answer.headers["x-request-id"][:8]] = answer.json()
            return len(answers) == 2

        eventually(both_have_answered, "answers of both workers")
    return list(answers.values())


def answering(one: Service) -> set[str]:
    """The variants by which the workers answer."""
    return {answer["variant"] for answer in of_both_workers(one, "POST", f"/v1/models/{NAME}/rank", BODY)}


def test_a_damaged_state_stops_changes_alone_and_is_written_anew(
    small_model: SmallModel, tmp_path: Path
) -> None:
    small = small_model.copy(tmp_path)
    path = small.store_folder / NAME / ACTIVE_FILE
    with running(small, compressor=False, workers=2) as one, continuous_load(one.url) as load:
        pinned = {"policy": {"kind": "pinned", "variant": "int8-dynamic"}}
        admin(one, "POST", f"/models/{NAME}/activate", pinned)
        eventually(lambda: answering(one) == {"int8-dynamic"}, "the pinned variant in both workers")
        versions = small.store.active(NAME).state.versions
        damaged = path.read_bytes()[:-20]
        path.write_bytes(damaged)
        eventually(
            lambda: all("slimrank rewrite clicks" in one.get("", "") for one in failures(one)),
            "the failure in readiness",
        )
        for method, where in (
            ("POST", f"/admin/models/{NAME}/activate"),
            ("POST", f"/admin/models/{NAME}/rollback"),
            ("POST", f"/admin/models/{NAME}/compress"),
            ("GET", f"/v1/models/{NAME}"),
        ):
            message = refused(one, method, where, pinned if where.endswith("activate") else {})
            assert message.startswith(f"{NAME}/{ACTIVE_FILE} cannot be read: ")
            assert "`slimrank rewrite clicks` writes it anew" in message
        found = one.get(f"/v1/models/{NAME}/variants")
        assert {each["name"] for each in found["variants"]} == versions.keys()
        assert found["unreadable"].keys() == {ACTIVE_FILE}
        assert is_ready(one), "what is loaded serves"
        assert rank(one).json()["variant"] == "int8-dynamic"

        ran = slimrank(small, "rewrite", NAME)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert small.store.active(NAME).state.versions == versions
        assert path.with_name(DAMAGED_FILE).read_bytes() == damaged
        eventually(lambda: not any(failures(one)), "the new state in the workers")
        assert admin(one, "POST", f"/models/{NAME}/activate", pinned)["can_roll_back"]
        admin(one, "POST", f"/models/{NAME}/rollback")
    assert load.failures == []


def test_a_service_that_starts_with_a_damaged_state_answers_once_it_is_written_anew(
    small_model: SmallModel, tmp_path: Path
) -> None:
    small = small_model.copy(tmp_path)
    (small.store_folder / NAME / ACTIVE_FILE).write_bytes(b"")
    with running(small, ready=False, compressor=False) as one:
        assert not is_ready(one)
        assert slimrank(small, "rewrite", NAME).returncode == 0
        eventually(lambda: is_ready(one), "readiness")
        assert rank(one).status_code == 200
