"""Compression jobs over HTTP: queue, look, cancel."""

from typing import Any

import pytest
from app.api.answers import JobAnswer, JobList
from app.jobs import MAX_QUEUED, QUEUE_FILE, JobQueue
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, answered, look_at_the_store, refused
from tests.serving.store_changes import activate as publish_active
from tests.serving.store_changes import active_version, damage, publish_again
from tests.small_model import NAME, SmallModel

COMPRESS = f"/admin/models/{NAME}/compress"
JOBS = "/admin/jobs"


@pytest.fixture
def queue(small: SmallModel) -> JobQueue:
    return JobQueue(small.store_folder / QUEUE_FILE)


def submit(own: TestClient, **body: Any) -> JobAnswer:
    return answered(own.post(COMPRESS, json=body, headers=ADMIN), JobAnswer, 202)


def shown(own: TestClient, job: str) -> JobAnswer:
    return answered(own.get(f"{JOBS}/{job}", headers=ADMIN), JobAnswer)


def refusal(own: TestClient, code: str, **body: Any) -> str:
    return refused(own.post(COMPRESS, json=body, headers=ADMIN), code)


def test_a_job_is_queued_and_found_at_its_address(own: TestClient) -> None:
    response = own.post(COMPRESS, json={}, headers=ADMIN)
    job = answered(response, JobAnswer, 202)
    assert response.headers["location"] == f"{JOBS}/{job.id}"
    assert answered(own.get(response.headers["location"], headers=ADMIN), JobAnswer) == job
    assert (job.model, job.state, job.recipes, job.recipe, job.force) == (NAME, "queued", None, None, False)
    assert (job.attempts, job.progress, job.log, job.result, job.error) == (0, 0.0, [], None, None)
    assert job.created_unix_seconds > 0


def test_the_same_again_while_the_first_waits_is_the_same_job(own: TestClient, queue: JobQueue) -> None:
    first = submit(own, recipes=["int8-static"])
    assert submit(own, recipes=["int8-static"], force=False) == first
    assert submit(own, recipes=["int8-static"], force=True).id != first.id
    queue.claim("a test")
    assert submit(own, recipes=["int8-static"]).id != first.id


def test_a_recipe_of_its_own_is_kept_whole(own: TestClient) -> None:
    steps = [{"technique": "prune_neurons", "keep": 0.5}, {"technique": "quantize_dynamic"}]
    job = submit(own, recipe={"name": "mine", "steps": steps}, force=True)
    assert job.recipe == {"name": "mine", "description": "", "seed": 0, "steps": steps}
    assert job.force
    assert shown(own, job.id) == job


def test_jobs_are_listed_newest_first(own: TestClient) -> None:
    assert answered(own.get(JOBS, headers=ADMIN), JobList).jobs == []
    jobs = [submit(own), submit(own, force=True), submit(own, recipes=["int8-dynamic"])]
    assert answered(own.get(JOBS, headers=ADMIN), JobList).jobs == jobs[::-1]


def test_every_state_of_a_job_is_shown(own: TestClient, queue: JobQueue) -> None:
    job = submit(own)
    assert queue.claim("a test") is not None
    queue.progress(job.id, "evaluate", 0.25, "a line")
    running = shown(own, job.id)
    assert (running.state, running.step, running.progress, running.log) == (
        "running",
        "evaluate",
        0.25,
        ["a line"],
    )
    assert running.started_unix_seconds is not None
    result = {"variants": [{"variant": "int8-static", "version": "0" * 16, "outcome": "passed"}]}
    queue.succeed(job.id, result)
    done = shown(own, job.id)
    assert (done.state, done.progress, done.result) == ("succeeded", 1.0, result)
    other = submit(own)
    queue.claim("a test")
    queue.fail(other.id, "the data cannot be had")
    assert (shown(own, other.id).state, shown(own, other.id).error) == ("failed", "the data cannot be had")


def test_a_job_says_what_of_it_cannot_be_loaded_until_it_can(
    own: TestClient, queue: JobQueue, small: SmallModel
) -> None:
    old, new = active_version(small, "int8-static"), publish_again(small, "int8-static")
    jobs = []
    for version in (old, new.version):
        jobs.append(submit(own, recipes=["int8-static"]).id)
        queue.claim("a test")
        queue.succeed(jobs[-1], {"variants": [{"variant": "int8-static", "version": version}]})
    assert [job.not_loaded for job in answered(own.get(JOBS, headers=ADMIN), JobList).jobs] == [{}, {}]
    whole = damage(small, new)
    publish_active(small, new)
    look_at_the_store(own)
    reason = f"{NAME}/int8-static/{new.version}: model.onnx is not what was published"
    assert [shown(own, job).not_loaded for job in jobs] == [{}, {"int8-static": reason}]
    assert shown(own, jobs[1]).state == "succeeded"
    path = small.store.folder(NAME, "int8-static", new.version) / "model.onnx"
    path.write_bytes(whole)
    while shown(own, jobs[1]).not_loaded:
        look_at_the_store(own)


def test_a_waiting_job_is_cancelled_at_once_and_only_once(own: TestClient) -> None:
    job = submit(own)
    cancelled = answered(own.delete(f"{JOBS}/{job.id}", headers=ADMIN), JobAnswer)
    assert cancelled.state == "cancelled"
    assert cancelled.finished_unix_seconds is not None
    message = refused(own.delete(f"{JOBS}/{job.id}", headers=ADMIN), "conflict")
    assert message == f"job {job.id} has already been cancelled"


def test_a_running_job_is_asked_to_stop(own: TestClient, queue: JobQueue) -> None:
    job = submit(own)
    queue.claim("a test")
    asked = answered(own.delete(f"{JOBS}/{job.id}", headers=ADMIN), JobAnswer)
    assert (asked.state, asked.cancel_requested) == ("running", True)
    assert answered(own.delete(f"{JOBS}/{job.id}", headers=ADMIN), JobAnswer) == asked


@pytest.mark.parametrize("job", ["nope", "0a1b2c3d", "%00", "%ff", "..", "' OR 1=1 --", "x" * 2000])
def test_an_unknown_job_is_not_found(own: TestClient, job: str) -> None:
    path = f"{JOBS}/%2e%2e" if job == ".." else f"{JOBS}/{job}"
    for response in (own.get(path, headers=ADMIN), own.delete(path, headers=ADMIN)):
        refused(response, "unknown_job")


def test_a_full_queue_asks_to_come_again(own: TestClient, queue: JobQueue) -> None:
    for number in range(MAX_QUEUED):
        queue.submit(f"model {number}")
    response = own.post(COMPRESS, json={}, headers=ADMIN)
    assert "100 jobs are waiting" in refused(response, "overloaded")
    assert response.headers["retry-after"] == "1"
    assert len(answered(own.get(JOBS, headers=ADMIN), JobList).jobs) == 100


def test_unknown_models_and_recipes_are_not_found(own: TestClient) -> None:
    assert "'nope'" in refused(
        own.post("/admin/models/nope/compress", json={}, headers=ADMIN), "unknown_model"
    )
    message = refusal(own, "unknown_recipe", recipes=["int8-dynamic", "nope"])
    assert message == "model 'clicks' has no recipe 'nope'; it has: int8-dynamic, int8-static"


STEPS = [{"technique": "quantize_dynamic"}]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"recipes": []}, "recipes"),
        ({"recipes": "int8-dynamic"}, "recipes"),
        ({"recipes": ["Not A Name"]}, "recipes.0"),
        ({"recipes": [1]}, "recipes.0"),
        ({"recipes": ["x"] * 101}, "recipes"),
        ({"force": "perhaps"}, "force"),
        ({"force": None}, "force"),
        ({"recipe": []}, "recipe"),
        ({"recipe": {}}, "recipe: name"),
        ({"recipe": {"name": "mine"}}, "recipe: steps"),
        ({"recipe": {"name": "mine", "steps": []}}, "recipe: steps"),
        ({"recipe": {"name": "mine", "steps": STEPS * 17}}, "recipe: steps"),
        ({"recipe": {"name": "mine", "steps": [{}]}}, "step 1: `technique` is missing"),
        ({"recipe": {"name": "mine", "steps": [{"technique": 1}]}}, "step 1: `technique` is missing"),
        (
            {"recipe": {"name": "mine", "steps": [*STEPS, {"technique": "quantise"}]}},
            "recipe 'mine', step 2: there is no technique 'quantise'; there are: distill, ",
        ),
        (
            {"recipe": {"name": "mine", "steps": [{"technique": "__init__"}]}},
            "there is no technique '__init__'",
        ),
        ({"recipe": {"name": "../mine", "steps": STEPS}}, "recipe: name"),
        ({"recipe": {"name": "baseline", "steps": STEPS}}, "may not be called 'baseline'"),
        ({"recipe": {"name": "int8-static", "steps": STEPS}}, "has a recipe 'int8-static' already"),
        ({"recipe": {"name": "mine", "steps": STEPS, "colour": "red"}}, "recipe: colour"),
        ({"recipe": {"name": "mine", "steps": STEPS}, "recipes": ["int8-static"]}, "not both"),
    ],
)
def test_wrong_requests_are_refused_and_nothing_is_queued(
    own: TestClient, body: dict[str, Any], said: str
) -> None:
    assert said in refusal(own, "invalid_input", **body)
    assert answered(own.get(JOBS, headers=ADMIN), JobList).jobs == []
