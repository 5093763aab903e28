"""`verify`, `models` and `jobs`, on a small store."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from app.active import Canary, Policy, Shadow, State
from app.artifact import GRAPH_FILE, MANIFEST_FILE
from app.jobs import QUEUE_FILE, JobQueue
from app.store import ACTIVE_FILE, ArtifactStore

from tests.cli.conftest import Ran

Slimrank = Callable[..., Ran]


@pytest.fixture
def queue(store: ArtifactStore) -> JobQueue:
    return JobQueue(store.root / QUEUE_FILE)


def test_verify_says_that_all_is_well(slimrank: Slimrank, store: ArtifactStore) -> None:
    ran = slimrank("verify", "--store", store.root)
    assert ran.code == 0
    assert ran.out.count("ok ") == 3
    assert "3 checked, 0 corrupt" in ran.out


def test_verify_finds_one_changed_byte(slimrank: Slimrank, store: ArtifactStore) -> None:
    version = store.active("tiny").state.versions["int8"]
    graph = store.folder("tiny", "int8", version) / GRAPH_FILE
    graph.write_bytes(b"Int8")
    ran = slimrank("verify", "--store", store.root)
    assert ran.code == 1
    assert f"corrupt tiny/int8/{version}" in ran.out
    assert "model.onnx is not what was published" in ran.out
    assert "3 checked, 1 corrupt" in ran.out


def test_verify_takes_the_store_from_the_environment(
    slimrank: Slimrank, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIMRANK_STORE", str(store.root))
    assert "3 checked" in slimrank("verify").out


def test_models_shows_what_serves_and_what_is_not_up_to_date(
    slimrank: Slimrank, store: ArtifactStore, models: Path
) -> None:
    ran = slimrank("models", "--store", store.root, "--models", models)
    assert ran.code == 0
    for part in ("tiny: A tiny ranker", "int8", "passed", "1.00 MB", "4.0x", "0.250 ms", "policy: ladder"):
        assert part in ran.out
    assert "not up to date: baseline, int8" in ran.out


def test_models_shows_the_whole_policy(slimrank: Slimrank, store: ArtifactStore, models: Path) -> None:
    policy = Policy("pinned", "baseline", Canary("int8", 2.5), Shadow("int8", 1))
    store.activate("tiny", lambda state: State(state.versions, policy, "a test", "admin"))
    ran = slimrank("models", "--store", store.root, "--models", models)
    for part in ("policy: pinned to baseline", "canary int8 for 2.5%", "shadow int8 for 1%"):
        assert part in " ".join(ran.out.split())


def test_models_shows_a_model_that_was_never_compressed(
    slimrank: Slimrank, tmp_path: Path, models: Path
) -> None:
    ran = slimrank("models", "--store", tmp_path / "none", "--models", models)
    assert ran.code == 0
    assert "nothing is active yet" in ran.out


def test_models_shows_a_model_whose_folder_is_gone(
    slimrank: Slimrank, store: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    ran = slimrank("models", "--store", store.root, "--models", tmp_path / "empty")
    assert ran.code == 0
    assert "its folder is gone" in ran.out


def test_models_names_what_cannot_be_read_and_lists_the_rest(
    slimrank: Slimrank, store: ArtifactStore, models: Path
) -> None:
    folder = active_folder(store, "baseline")
    (folder / MANIFEST_FILE).write_text("{")
    ran = slimrank("models", "--store", store.root, "--models", models)
    assert ran.code == 0
    reason = f"tiny/baseline/{folder.name}: the manifest cannot be read (Input data was truncated)"
    assert f"\nbaseline: unreadable, {reason}\n" in ran.out
    assert re.search(rf"baseline +│ {folder.name} │ unreadable", ran.out)
    assert re.search(r"int8 +│ \w{16} │ passed", ran.out)
    assert "not up to date: baseline, int8" in ran.out


def test_models_names_a_damaged_state_and_lists_the_other_models(
    slimrank: Slimrank, store: ArtifactStore, models: Path
) -> None:
    (store.root / "broken").mkdir()
    (store.root / "broken" / ACTIVE_FILE).write_text("{")
    ran = slimrank("models", "--store", store.root, "--models", models)
    assert ran.code == 0
    assert "what is active cannot be read" in ran.out
    assert "\nactive.json: unreadable, broken/active.json cannot be read: " in ran.out
    assert "tiny: A tiny ranker" in ran.out


def test_a_damaged_state_is_told_by_report_and_written_anew(
    slimrank: Slimrank, store: ArtifactStore, models: Path
) -> None:
    versions = store.active("tiny").state.versions
    (store.root / "tiny" / ACTIVE_FILE).write_text("{")
    ran = slimrank("report", "tiny", "--store", store.root)
    assert ran.code == 0
    assert "active.json: unreadable, tiny/active.json cannot be read: " in ran.out
    assert "│ int8 " in ran.out
    ran = slimrank("rewrite", "tiny", "--store", store.root, "--models", models)
    assert ran.code == 0
    for variant, version in versions.items():
        assert f"{variant} {version} is active\n" in ran.out
    assert "policy: ladder\n" in ran.out
    assert store.active("tiny").state.versions == versions
    again = slimrank("rewrite", "tiny", "--store", store.root, "--models", models)
    assert (again.code, again.out) == (1, "")
    assert again.err == "error: tiny/active.json can be read: activate or roll back instead\n"
    unknown = slimrank("rewrite", "nope", "--store", store.root, "--models", models)
    assert (unknown.code, unknown.err) == (2, "error: nothing of a model 'nope' is in the store\n")
    elsewhere = slimrank("rewrite", "tiny", "--store", store.root / "nope", "--models", models)
    assert elsewhere.code == 2
    assert "there is no store" in elsewhere.err


def test_a_state_that_is_gone_is_told_and_written_anew_without_a_card(
    slimrank: Slimrank, store: ArtifactStore, models: Path
) -> None:
    (store.root / "tiny" / ACTIVE_FILE).unlink()
    ran = slimrank("models", "--store", store.root, "--models", models)
    assert "\nits active.json is gone: `slimrank rewrite tiny` activates what is published\n" in ran.out
    ran = slimrank("rewrite", "tiny", "--store", store.root, "--models", models / "nope")
    assert ran.code == 0
    assert "there is no card of tiny in " in ran.out
    assert store.active("tiny").state.versions


def test_jobs_are_listed_shown_and_cancelled(
    slimrank: Slimrank, store: ArtifactStore, queue: JobQueue
) -> None:
    first = queue.submit("tiny", recipes=["int8"])
    second = queue.submit("tiny", recipe={"name": "mine [red]", "steps": []})
    queue.claim("a test")
    queue.progress(first.id, "quantizing [bold]", 0.5, "a line")
    listed = slimrank("jobs", "list", "--store", store.root)
    assert listed.code == 0
    for part in (first.id, second.id, "mine [red]", "quantizing [bold]", "50%", "running", "queued"):
        assert part in listed.out
    assert first.id not in slimrank("jobs", "list", "--store", store.root, "--limit", 1).out

    shown = json.loads(slimrank("jobs", "show", first.id, "--store", store.root).out)
    assert (shown["id"], shown["log"], shown["state"]) == (first.id, ["a line"], "running")

    assert (
        slimrank("jobs", "cancel", second.id, "--store", store.root).out == f"job {second.id} is cancelled\n"
    )
    asked = slimrank("jobs", "cancel", first.id, "--store", store.root)
    assert asked.out == f"job {first.id} is being cancelled\n"
    assert "cancelling" in slimrank("jobs", "list", "--store", store.root).out


def test_jobs_of_no_queue_and_no_job(slimrank: Slimrank, store: ArtifactStore, tmp_path: Path) -> None:
    ran = slimrank("jobs", "list", "--store", tmp_path / "none")
    assert ran.code == 2
    assert "has no job queue" in ran.err
    assert not (tmp_path / "none").exists(), "looking must not make a store"
    JobQueue(store.root / QUEUE_FILE).counts()
    ran = slimrank("jobs", "show", "nope", "--store", store.root)
    assert (ran.code, ran.err) == (2, "error: there is no job 'nope'\n")


def test_a_finished_job_cannot_be_cancelled(
    slimrank: Slimrank, store: ArtifactStore, queue: JobQueue
) -> None:
    job = queue.submit("tiny")
    queue.cancel(job.id)
    ran = slimrank("jobs", "cancel", job.id, "--store", store.root)
    assert (ran.code, ran.err) == (1, f"error: job {job.id} has already been cancelled\n")


def test_report_says_what_was_decided_by_measurement(slimrank: Slimrank, store: ArtifactStore) -> None:
    ran = slimrank("report", "tiny", "--store", store.root)
    assert "\nint8: a layer stays in float: [it] gains no time\n" in ran.out
    assert "baseline: " not in ran.out


def active_folder(store: ArtifactStore, variant: str) -> Path:
    return store.folder("tiny", variant, store.active("tiny").state.versions[variant])


def test_report_names_a_variant_that_cannot_be_read_and_shows_the_others(
    slimrank: Slimrank, store: ArtifactStore
) -> None:
    folder = active_folder(store, "baseline")
    (folder / MANIFEST_FILE).write_text("{")
    reason = f"tiny/baseline/{folder.name}: the manifest cannot be read (Input data was truncated)"
    ran = slimrank("report", "tiny", "--store", store.root)
    assert ran.code == 0
    assert f"\nbaseline: unreadable, {reason}\n" in ran.out
    assert "\nint8: passed, because\n" in ran.out
    assert "│ int8 " in ran.out
    found = json.loads(slimrank("report", "tiny", "--store", store.root, "--json").out)
    assert found.keys() == {"int8", "baseline"}
    assert found["int8"].keys() == {"manifest", "report"}
    assert found["baseline"] == {"unreadable": reason}


def test_report_names_an_active_variant_that_is_gone(slimrank: Slimrank, store: ArtifactStore) -> None:
    shutil.rmtree(active_folder(store, "int8").parent)
    ran = slimrank("report", "tiny", "--store", store.root)
    assert ran.code == 0
    assert re.search(
        r"^int8: unreadable, tiny/int8/\w{16} is active, but not in the store$", ran.out, re.MULTILINE
    )
    assert "│ baseline " in ran.out


def test_report_fails_when_no_variant_can_be_read(slimrank: Slimrank, store: ArtifactStore) -> None:
    for variant in ("baseline", "int8"):
        (active_folder(store, variant) / MANIFEST_FILE).write_text("{")
    ran = slimrank("report", "tiny", "--store", store.root)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: no variant can be read: tiny/baseline/")
    assert ran.err.count("the manifest cannot be read") == 2
