"""What is queued at the start of a service."""

from pathlib import Path

import pytest
from app.active import Policy, State
from app.artifact import GRAPH_FILE, MANIFEST_FILE, Manifest
from app.errors import ConfigurationError
from app.fingerprint import Inputs
from app.jobs import JobQueue
from app.model_card import ModelCard, read_card
from app.settings import Settings
from app.stale import submit_stale
from app.store import ArtifactStore

CARD = """
name = "tiny"
source = { kind = "onnx" }
schema.features = [{ name = "item_id", side = "item", kind = "categorical" }]
recipes = [{ name = "int8", steps = [{ technique = "quantize_dynamic" }] }]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(CARD)
    return Settings(store=tmp_path / "store", models=folder.parent)


@pytest.fixture
def queue(settings: Settings) -> JobQueue:
    return JobQueue(settings.store / "jobs.sqlite")


def publish_all(settings: Settings, card: ModelCard) -> dict[str, str]:
    store, folder = ArtifactStore(settings.store), settings.models / card.name
    versions = {}
    for name, recipe in (("baseline", None), *((recipe.name, recipe) for recipe in card.recipes)):
        with store.staged() as staged:
            (staged / GRAPH_FILE).write_bytes(name.encode())
            manifest = Manifest(
                model="tiny", variant=name, inputs_sha256=Inputs.of(card, folder).sha256(recipe)
            )
            versions[name] = store.publish(staged, manifest).version
    store.activate("tiny", lambda state: State(versions, state.policy, "a test"))
    return versions


def test_a_model_that_was_never_compressed_is_queued_once(settings: Settings, queue: JobQueue) -> None:
    (job,) = submit_stale(settings, queue)
    assert (job.model, job.recipes, job.recipe, job.force) == ("tiny", None, None, False)
    assert [again.id for again in submit_stale(settings, queue)] == [job.id]
    assert queue.counts()["queued"] == 1


def test_a_model_that_is_up_to_date_is_left_alone(settings: Settings, queue: JobQueue) -> None:
    publish_all(settings, read_card(settings.models / "tiny"))
    assert submit_stale(settings, queue) == []


def test_a_changed_recipe_is_queued(settings: Settings, queue: JobQueue) -> None:
    publish_all(settings, read_card(settings.models / "tiny"))
    (settings.models / "tiny" / "model.toml").write_text(CARD.replace('"int8",', '"int8", seed = 1,'))
    assert len(submit_stale(settings, queue)) == 1


def test_a_changed_policy_is_queued_unless_an_admin_has_set_another(
    settings: Settings, queue: JobQueue
) -> None:
    publish_all(settings, read_card(settings.models / "tiny"))
    policy = '[policy]\nkind = "ladder"\nshadow = { variant = "baseline", percent = 1 }\n'
    (settings.models / "tiny" / "model.toml").write_text(CARD + policy)
    store = ArtifactStore(settings.store)
    store.activate("tiny", lambda state: State(state.versions, Policy(), "an admin", "admin"))
    assert submit_stale(settings, queue) == []
    store.activate("tiny", lambda state: State(state.versions, Policy(), "a test"))
    assert len(submit_stale(settings, queue)) == 1


def test_a_damaged_manifest_is_queued(settings: Settings, queue: JobQueue) -> None:
    versions = publish_all(settings, read_card(settings.models / "tiny"))
    (settings.store / "tiny" / "int8" / versions["int8"] / MANIFEST_FILE).write_text("{}")
    assert len(submit_stale(settings, queue)) == 1


def test_a_wrong_card_is_an_error(settings: Settings, queue: JobQueue) -> None:
    (settings.models / "tiny" / "model.toml").write_text("name = 1")
    with pytest.raises(ConfigurationError, match=r"tiny/model\.toml"):
        submit_stale(settings, queue)
