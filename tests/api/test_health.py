"""Health and metrics: what a load balancer and Prometheus see."""

import shutil

import pytest
from app.api.answers import Live, Readiness
from app.store import ACTIVE_FILE
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tests.api.checks import RANK, RECOMMEND, answered, serving
from tests.serving.store_changes import active_version, damage
from tests.small_model import NAME, SmallModel


def readiness(client: TestClient, status: int = 200) -> Readiness:
    return answered(client.get("/health/ready"), Readiness, status)


def test_a_process_that_runs_is_live(client: TestClient) -> None:
    assert answered(client.get("/health/live"), Live).status == "live"


def test_a_service_with_every_model_loaded_is_ready(client: TestClient) -> None:
    found = readiness(client)
    assert found.status == "ready"
    one = found.models[NAME]
    store = client.app.state.service.store  # type: ignore[attr-defined]
    assert one.loaded == store.active(NAME).state.versions
    assert (one.ready, one.missing, one.failures) == (True, None, {})


def test_an_empty_store_is_not_ready_but_live(small: SmallModel) -> None:
    shutil.rmtree(small.store_folder)
    with serving(small) as own:
        found = readiness(own, 503)
        assert (found.status, found.models[NAME].ready) == ("not_ready", False)
        assert found.models[NAME].missing == "nothing of it is published yet"
        assert own.get("/health/live").status_code == 200


def test_a_damaged_active_state_at_the_start_is_what_is_missing(small: SmallModel) -> None:
    (small.store_folder / NAME / ACTIVE_FILE).write_bytes(b"{")
    with serving(small) as own:
        one = readiness(own, 503).models[NAME]
        assert one.missing is not None
        assert "active.json cannot be read" in one.missing
        assert one.failures == {"": one.missing}
        assert str(small.store_folder) not in one.missing


def test_without_any_model_it_is_not_ready(small: SmallModel) -> None:
    shutil.rmtree(small.store_folder)
    shutil.rmtree(small.models)
    with serving(small) as own:
        assert (readiness(own, 503).status, readiness(own, 503).models) == ("not_ready", {})


def test_a_missing_baseline_is_not_ready_and_says_why(small: SmallModel) -> None:
    damage(small, small.store.manifest(NAME, "baseline", active_version(small, "baseline")))
    with serving(small) as own:
        one = readiness(own, 503).models[NAME]
        assert (one.ready, one.missing) == (False, "its baseline is not loaded")
        assert one.loaded.keys() == {"int8-dynamic", "int8-static"}
        assert one.failures["baseline"].endswith("model.onnx is not what was published")
        assert str(small.store_folder) not in one.failures["baseline"]


def test_a_service_that_drains_is_not_ready_and_still_answers(own: TestClient) -> None:
    own.app.state.draining = True  # type: ignore[attr-defined]
    found = readiness(own, 503)
    assert (found.status, found.models[NAME].ready) == ("draining", True)
    assert own.get("/health/live").status_code == 200
    assert own.post(RANK, json={"candidates": ["i1"]}).status_code == 200


def counted(own: TestClient) -> dict[tuple[str, str, str], float]:
    """Requests by model, variant and outcome."""
    response = own.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.labels["model"], sample.labels["variant"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == "slimrank_requests_total"
    }


def test_requests_are_counted_by_who_answered_and_how_they_ended(own: TestClient) -> None:
    for _ in range(2):
        own.post(RANK, json={"candidates": ["i1"], "variant": "int8-static"})
    own.post(RECOMMEND, json={"variant": "baseline"})
    own.post(RANK, json={"candidates": []})
    own.post(RANK, content=b"{")
    own.post(RANK, json={"candidates": ["i1"], "variant": "invented"})
    own.post(RANK, json={"candidates": ["i1"], "deadline_ms": 1e-6})
    own.post("/v1/models/invented/rank", json={"candidates": ["i1"]})
    assert counted(own) == {
        (NAME, "int8-static", "ok"): 2,
        (NAME, "baseline", "ok"): 1,
        (NAME, "", "invalid_input"): 2,
        (NAME, "", "unknown_variant"): 1,
        (NAME, "", "deadline_exceeded"): 1,
        ("", "", "unknown_model"): 1,
    }


@pytest.mark.parametrize("path", ["/health/live", "/v1/models", "/metrics"])
def test_other_requests_are_not_counted_as_rankings(own: TestClient, path: str) -> None:
    assert own.get(path).status_code == 200
    assert counted(own) == {}
