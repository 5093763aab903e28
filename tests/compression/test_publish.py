"""What a published variant says of itself, on the small model's store."""

from typing import Any

import onnx
import pytest
from app.artifact import (
    GRAPH_DATA_FILE,
    GRAPH_FILE,
    ITEMS_GRAPH_FILE,
    REPORT_FILE,
    REST_GRAPH_FILE,
    Manifest,
    read_report,
    verify,
)
from app.catalog import Catalog
from app.compression.bench import graph_bytes
from app.compression.make_catalog import make_catalog
from app.compression.publish import publish_catalog
from app.compression.subject import Subject
from app.fingerprint import Inputs, library_versions
from app.machine import this_machine
from app.model_card import read_card
from app.store import CATALOG, ArtifactStore

from tests.compression.parts import subject_of
from tests.small_model import NAME, SmallModel


@pytest.fixture
def published(small_model: SmallModel) -> dict[str, Manifest]:
    store, versions = small_model.store, small_model.store.active(NAME).state.versions
    return {variant: store.manifest(NAME, variant, version) for variant, version in versions.items()}


def test_a_variant_names_its_parent_its_catalog_and_its_recipe(published: dict[str, Manifest]) -> None:
    baseline, static = published["baseline"], published["int8-static"]
    assert (baseline.parent, baseline.recipe, baseline.seed) == (None, None, 0)
    assert static.parent == baseline.reference
    assert static.catalog == baseline.catalog
    assert static.recipe is not None
    assert (static.recipe["name"], static.recipe["description"]) == ("int8-static", "")
    (step,) = static.recipe["steps"]
    given = {"technique": "quantize_static", "rows": 500, "method": "minmax", "per_channel": True}
    assert given.items() <= step.items()
    assert step["keep_float"] == "last", "what was not given has its default"


def test_it_says_what_it_was_made_from_with_and_on(
    small_model: SmallModel, published: dict[str, Manifest]
) -> None:
    card, folder = read_card(small_model.models / NAME), small_model.models / NAME
    for variant, manifest in published.items():
        recipe = None if variant == "baseline" else card.recipe(variant)
        assert manifest.inputs_sha256 == Inputs.of(card, folder).sha256(recipe)
        assert manifest.libraries == library_versions()
        assert manifest.machine == this_machine()


def test_its_inputs_and_outputs_are_those_of_the_graph(published: dict[str, Manifest]) -> None:
    for manifest in published.values():
        inputs = {one.name: (one.dtype, one.shape) for one in manifest.inputs}
        assert inputs["user_id"] == ("tensor(int64)", ["num_requests"])
        assert inputs["history"] == ("tensor(int64)", ["num_requests", 5])
        assert inputs["text"] == ("tensor(float)", ["num_candidates", 4])
        assert inputs["row_request"] == ("tensor(int64)", ["num_candidates"])
        assert [(one.name, one.dtype) for one in manifest.outputs] == [("score", "tensor(float)")]


def test_its_files_are_a_graph_with_its_weights_beside_it_and_a_report(
    small_model: SmallModel, published: dict[str, Manifest]
) -> None:
    for manifest in published.values():
        folder = small_model.store.folder(NAME, manifest.variant, manifest.version)
        assert verify(folder) == manifest
        parts = set() if manifest.variant == "int8-dynamic" else {ITEMS_GRAPH_FILE, REST_GRAPH_FILE}
        whole = {GRAPH_FILE, GRAPH_DATA_FILE, REPORT_FILE}
        assert {one.name for one in manifest.files} == whole | parts
        report = read_report(folder)
        assert report.size.artifact_bytes == graph_bytes(folder)
        assert [one.candidates for one in report.latency] == [1, 10, 100]
        light = onnx.load(folder / GRAPH_FILE, load_external_data=False)
        assert max(len(one.raw_data) for one in light.graph.initializer) < 1024


def test_an_equal_catalog_is_used_again(small_model: SmallModel, tmp_path_factory: Any) -> None:
    store = ArtifactStore(tmp_path_factory.mktemp("store"))
    subject: Subject = subject_of(small_model)
    first, second = (
        publish_catalog(store, NAME, inputs, make_catalog(subject.encoder, subject.prepared, ("category",)))
        for inputs in ("0" * 64, "0" * 64)
    )
    assert first == second
    assert len(store.manifests(NAME, CATALOG)) == 1
    other = publish_catalog(store, NAME, "0" * 64, make_catalog(subject.encoder, None, ()))
    assert other.version != first.version
    folder = store.folder(NAME, CATALOG, first.version)
    assert Catalog.open(folder).item_ids
    assert verify(folder).variant == CATALOG
