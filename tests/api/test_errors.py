"""Every documented error can be had, in the one form; and what surrounds every request."""

import shutil
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from app.artifact import MANIFEST_FILE
from app.jobs import QUEUE_FILE
from app.model_card import CARD_FILE
from app.store import ACTIVE_FILE
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, KEY, RANK, STATUS, error_of, refused, serving
from tests.serving.store_changes import active_version, damage
from tests.small_model import NAME, SmallModel

MODEL = f"/v1/models/{NAME}"
ADMIN_MODEL = f"/admin/models/{NAME}"
CANARY = {"variant": "int8-dynamic", "percent": 1}
Ask = Callable[[TestClient, SmallModel], httpx2.Response]


def post(path: str, body: Any = None, **headers: str) -> Ask:
    return lambda own, small: own.post(path, json=body, headers=headers)


def admin(path: str, body: Any = None) -> Ask:
    return post(path, body, **ADMIN)


def overloaded(own: TestClient, small: SmallModel) -> httpx2.Response:
    for number in range(100):
        own.app.state.service.queue.submit(f"model {number}")  # type: ignore[attr-defined]
    return own.post(f"{ADMIN_MODEL}/compress", json={}, headers=ADMIN)


def closed(own: TestClient, small: SmallModel) -> httpx2.Response:
    with serving(small, admin_key=None) as one:
        return one.get("/admin/jobs")


def not_ready(own: TestClient, small: SmallModel) -> httpx2.Response:
    shutil.rmtree(small.store_folder)
    with serving(small) as one:
        return one.post(RANK, json={"candidates": ["i1"]})


def a_broken_card(own: TestClient, small: SmallModel) -> httpx2.Response:
    (small.models / NAME / CARD_FILE).write_text("title = 1")
    return own.post(f"{ADMIN_MODEL}/compress", json={}, headers=ADMIN)


def a_broken_queue(own: TestClient, small: SmallModel) -> httpx2.Response:
    (small.store_folder / QUEUE_FILE).write_bytes(b"not a queue" * 1000)
    return own.get("/admin/jobs", headers=ADMIN)


def a_store_that_cannot_be_written(own: TestClient, small: SmallModel) -> httpx2.Response:
    (small.store_folder / NAME / "active.tmp").mkdir()
    return own.post(
        f"{ADMIN_MODEL}/activate", json={"policy": {"kind": "ladder", "canary": CANARY}}, headers=ADMIN
    )


def a_queue_that_cannot_be_opened(own: TestClient, small: SmallModel) -> httpx2.Response:
    (small.store_folder / QUEUE_FILE).unlink(missing_ok=True)
    (small.store_folder / QUEUE_FILE).mkdir()
    return own.get("/admin/jobs", headers=ADMIN)


def a_broken_manifest(own: TestClient, small: SmallModel) -> httpx2.Response:
    manifest = small.store.manifest(NAME, "baseline", active_version(small, "baseline"))
    damage(small, manifest, MANIFEST_FILE)
    body = {"variant": "baseline", "version": manifest.version}
    return own.post(f"{ADMIN_MODEL}/activate", json=body, headers=ADMIN)


def a_broken_state(own: TestClient, small: SmallModel) -> httpx2.Response:
    (small.store_folder / NAME / ACTIVE_FILE).write_bytes(b"{")
    return own.get(MODEL)


def a_fault(own: TestClient, small: SmallModel) -> httpx2.Response:
    own.app.state.service = None  # type: ignore[attr-defined]  # which no route expects
    return own.get(MODEL)


CASES: list[tuple[str, Ask]] = [
    ("invalid_input", post(RANK, {"candidates": []})),
    ("unknown_feature", post(RANK, {"candidates": ["i1"], "context": {"nope": 1}})),
    ("not_found", post("/nope")),
    ("unknown_model", post("/v1/models/nope/rank", {"candidates": ["i1"]})),
    ("unknown_variant", post(RANK, {"candidates": ["i1"], "variant": "nope"})),
    ("unknown_version", admin(f"{ADMIN_MODEL}/activate", {"variant": "baseline", "version": "0" * 16})),
    ("unknown_recipe", admin(f"{ADMIN_MODEL}/compress", {"recipes": ["nope"]})),
    ("unknown_job", lambda own, small: own.get("/admin/jobs/nope", headers=ADMIN)),
    ("method_not_allowed", post(MODEL)),
    ("unauthorized", post(f"{ADMIN_MODEL}/rollback")),
    ("admin_closed", closed),
    ("conflict", admin(f"{ADMIN_MODEL}/rollback")),
    ("body_too_large", post(RANK, {"candidates": ["i" * 5_000_000]})),
    ("overloaded", overloaded),
    ("not_ready", not_ready),
    ("deadline_exceeded", post(RANK, {"candidates": ["i1"], "deadline_ms": 1e-6})),
    ("configuration", a_broken_card),
    ("configuration", a_broken_queue),
    ("artifact_corrupt", a_broken_manifest),
    ("active_corrupt", a_broken_state),
    ("store_unavailable", a_store_that_cannot_be_written),
    ("store_unavailable", a_queue_that_cannot_be_opened),
    ("internal", a_fault),
]
ERRORS_OF_JOBS = {"data_unavailable", "compression_failed"}


@pytest.mark.parametrize(("code", "ask"), CASES, ids=[f"{n} {code}" for n, (code, _) in enumerate(CASES)])
def test_every_error_has_its_code_its_status_and_the_one_form(
    own: TestClient, small: SmallModel, code: str, ask: Ask
) -> None:
    response = ask(own, small)
    message = refused(response, code)
    assert str(small.models.parent) not in message, "clients see no paths"
    assert KEY not in response.text
    assert ("retry-after" in response.headers) == (code in {"overloaded", "not_ready"})


def test_no_documented_error_is_left_out() -> None:
    # tests/e2e/test_slow_clients.py and test_lingering.py see those of connections.
    of_connections = {"request_timeout", "bad_request"}
    assert {code for code, _ in CASES} == STATUS.keys() - ERRORS_OF_JOBS - of_connections


def test_a_fault_names_the_request_whose_cause_the_log_has(
    own: TestClient, small: SmallModel, caplog: pytest.LogCaptureFixture
) -> None:
    response = a_fault(own, small)
    request = response.headers["x-request-id"]
    assert request in refused(response, "internal")
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert request in record.getMessage()
    assert record.exc_info is not None
    assert own.get("/health/live").status_code == 200


def test_a_failure_of_the_service_is_logged_with_its_request(
    own: TestClient, small: SmallModel, caplog: pytest.LogCaptureFixture
) -> None:
    response = a_broken_manifest(own, small)
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert response.headers["x-request-id"] in record.getMessage()
    assert "artifact_corrupt" in record.getMessage()


def test_a_variant_that_could_not_be_loaded_is_not_ready(small: SmallModel) -> None:
    version = small.store.active(NAME).state.versions["int8-static"]
    (small.store.folder(NAME, "int8-static", version) / "model.onnx").write_bytes(b"")
    with serving(small) as own:
        response = own.post(RANK, json={"candidates": ["i1"], "variant": "int8-static"})
        refused(response, "not_ready")
        assert error_of(response)["details"] == {"variant": "int8-static"}


def test_another_variant_answers_for_a_pinned_one_that_is_not_loaded(small: SmallModel) -> None:
    version = small.store.active(NAME).state.versions["int8-static"]
    policy = {"kind": "pinned", "variant": "int8-static"}
    (small.store.folder(NAME, "int8-static", version) / "model.onnx").write_bytes(b"")
    with serving(small) as own:
        own.post(f"{ADMIN_MODEL}/activate", json={"policy": policy}, headers=ADMIN)
        own.portal.call(own.app.state.service.registry.refresh)  # type: ignore[union-attr]
        answer = own.post(RANK, json={"candidates": ["i1"]}).json()
        assert (answer["variant"], answer["degraded"]) == ("baseline", True)
        assert answer["degraded_reason"] == "variant 'int8-static' is not loaded, so 'baseline' answered"


def test_the_state_is_not_touched_by_refused_requests(own: TestClient, small: SmallModel) -> None:
    before = small.store.active(NAME)
    for _, ask in CASES[:13]:
        ask(own, small)
    assert small.store.active(NAME) == before
