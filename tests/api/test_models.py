"""GET /v1/models and below: what there is, and what each variant is worth."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from app.api.answers import ModelDetail, ModelList, VariantDetail, VariantList
from app.artifact import MANIFEST_FILE, REPORT_FILE, read_report
from app.model_card import CARD_FILE
from app.store import ArtifactStore
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, answered, error_of, refused, serving
from tests.serving.store_changes import active_version, publish_again
from tests.small_model import NAME, SmallModel

MODEL = f"/v1/models/{NAME}"
NAMES = ["baseline", "int8-dynamic", "int8-static"]


def variants(client: TestClient) -> dict[str, VariantDetail]:
    found = answered(client.get(f"{MODEL}/variants"), VariantList).variants
    return {one.name: one for one in found}


def test_the_list_has_every_model_with_its_card(client: TestClient) -> None:
    (one,) = answered(client.get("/v1/models"), ModelList).models
    assert (one.name, one.title, one.description) == (NAME, "Synthetic clicks", "Will this user click?")
    assert (one.ready, one.variants, one.policy.kind) == (True, NAMES, "ladder")


def test_one_model_has_its_features_and_its_sizes(client: TestClient) -> None:
    one = answered(client.get(MODEL), ModelDetail)
    (listed,) = answered(client.get("/v1/models"), ModelList).models
    assert listed.model_dump().items() <= one.model_dump().items()
    assert (one.user_key, one.item_key) == ("user_id", "item_id")
    sides = {feature["name"]: feature["side"] for feature in one.features}
    assert sides == {
        "user_id": "user",
        "segment": "user",
        "history": "user",
        "device": "context",
        "item_id": "item",
        "category": "item",
        "price": "item",
        "text": "item",
    }
    assert one.catalog is not None
    assert (one.catalog.items, one.catalog.users) == (150, 200)
    assert not one.can_roll_back
    assert one.revision > 0


def test_variants_come_with_recipe_verdict_and_report(client: TestClient) -> None:
    store: ArtifactStore = client.app.state.service.store  # type: ignore[attr-defined]
    found = variants(client)
    assert [*found] == NAMES
    assert found["baseline"].verdict == "baseline"
    assert all(one.active and one.reason for one in found.values())
    assert (found["baseline"].parent, found["baseline"].recipe) == (None, None)
    for name in NAMES[1:]:
        one = found[name]
        assert one.parent == f"baseline/{found['baseline'].version}"
        assert one.recipe is not None
        assert one.recipe["name"] == name
        assert one.report["size"]["compression_ratio"] > 1
        report = read_report(store.folder(NAME, name, one.version))
        assert report.quality is not None
        assert one.report["quality"]["auc"]["value"] == report.quality.auc.value
    assert found["int8-dynamic"].verdict == "rejected"


def test_what_is_not_active_is_shown_by_its_newest_version(own: TestClient, small: SmallModel) -> None:
    old, new = active_version(small, "int8-static"), publish_again(small, "int8-static").version
    assert (variants(own)["int8-static"].version, variants(own)["int8-static"].active) == (old, True)
    kept = {name: active_version(small, name) for name in NAMES[:2]}
    small.store.activate(NAME, lambda state: type(state)(kept, state.policy))
    one = variants(own)["int8-static"]
    assert (one.version, one.active) == (new, False)


def test_unknown_models_are_not_found(client: TestClient) -> None:
    for path in ("/v1/models/movies", "/v1/models/movies/variants"):
        response = client.get(path)
        assert "there is no model 'movies'" in refused(response, "unknown_model")
        assert error_of(response)["details"] == {"model": "movies"}


def test_a_model_that_is_not_published_yet_is_there_but_not_ready(small: SmallModel) -> None:
    shutil.rmtree(small.store_folder)
    with serving(small) as own:
        (one,) = answered(own.get("/v1/models"), ModelList).models
        assert (one.ready, one.variants, one.title) == (False, [], "Synthetic clicks")
        detail = answered(own.get(MODEL), ModelDetail)
        assert (detail.features, detail.catalog, detail.revision) == ([], None, 0)
        assert variants(own) == {}
        for path, body in (("rank", {"candidates": ["i1"]}), ("recommend", {})):
            response = own.post(f"{MODEL}/{path}", json=body)
            assert "GET /health/ready" in refused(response, "not_ready")
            assert response.headers["retry-after"] == "1"
        for path in ("activate", "rollback"):
            response = own.post(
                f"/admin/models/{NAME}/{path}", json={"policy": {"kind": "ladder"}}, headers=ADMIN
            )
            assert "nothing of a model 'clicks' is active" in refused(response, "unknown_model")


def test_a_model_without_a_card_is_shown_from_the_store(small: SmallModel) -> None:
    shutil.rmtree(small.models)
    with serving(small) as own:
        one = answered(own.get(MODEL), ModelDetail)
        assert (one.title, one.ready, one.variants) == ("", True, NAMES)
        assert own.post(f"{MODEL}/rank", json={"candidates": ["i1"]}).status_code == 200
        response = own.post(f"/admin/models/{NAME}/compress", json={}, headers=ADMIN)
        assert "the models folder has no card of it" in refused(response, "unknown_model")


def test_a_card_that_breaks_under_way_is_told_and_ranking_goes_on(own: TestClient, small: SmallModel) -> None:
    (small.models / NAME / CARD_FILE).write_text("name = ")
    (listed,) = answered(own.get("/v1/models"), ModelList).models
    shown = answered(own.get(MODEL), ModelDetail)
    for one in (listed, shown):
        assert one.description.startswith("its model card is wrong: clicks/model.toml is not TOML")
        assert str(small.models) not in one.description
        assert one.ready
    assert own.post(f"{MODEL}/rank", json={"candidates": ["i1"]}).status_code == 200


def test_a_card_that_cannot_be_read_does_not_hide_the_other_models(
    own: TestClient, small: SmallModel
) -> None:
    (small.models / "broken" / CARD_FILE).mkdir(parents=True)
    one, other = answered(own.get("/v1/models"), ModelList).models
    assert (one.name, one.description) == (
        "broken",
        "its model card is wrong: broken/model.toml cannot be read: Is a directory",
    )
    assert other.name == NAME
    refused(own.post("/admin/models/broken/compress", json={}, headers=ADMIN), "configuration")


def empty_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).write_text("{")


def empty_report(folder: Path) -> None:
    (folder / REPORT_FILE).write_text("{")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (empty_manifest, "the manifest cannot be read (Input data was truncated)"),
        (empty_report, "the report cannot be read"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "manifest.json is missing"),
        (shutil.rmtree, "is active, but not in the store"),
        (lambda folder: shutil.rmtree(folder.parent), "is active, but not in the store"),
    ],
    ids=["manifest", "report", "no-manifest", "no-version", "no-variant"],
)
@pytest.mark.parametrize("name", ["baseline", "int8-static"])
def test_a_variant_that_cannot_be_read_does_not_hide_the_others(
    own: TestClient, small: SmallModel, name: str, spoil: Callable[[Path], object], reason: str
) -> None:
    version = active_version(small, name)
    spoil(small.store.folder(NAME, name, version))
    found = answered(own.get(f"{MODEL}/variants"), VariantList)
    assert [one.name for one in found.variants] == [one for one in NAMES if one != name]
    assert list(found.unreadable) == [name]
    told = found.unreadable[name]
    assert told.startswith(f"{NAME}/{name}/{version}")
    assert told.endswith(reason)
    assert str(small.store_folder) not in told


def test_what_is_not_active_is_shown_by_what_of_it_can_be_read(own: TestClient, small: SmallModel) -> None:
    old, new = active_version(small, "int8-static"), publish_again(small, "int8-static").version
    kept = {name: active_version(small, name) for name in NAMES[:2]}
    small.store.activate(NAME, lambda state: type(state)(kept, state.policy))
    empty_manifest(small.store.folder(NAME, "int8-static", new))
    assert variants(own)["int8-static"].version == old
    empty_manifest(small.store.folder(NAME, "int8-static", old))
    found = answered(own.get(f"{MODEL}/variants"), VariantList)
    assert [one.name for one in found.variants] == NAMES[:2]
    assert "the manifest cannot be read" in found.unreadable["int8-static"]
    shutil.rmtree(small.store_folder / NAME / "int8-static")
    assert answered(own.get(f"{MODEL}/variants"), VariantList).unreadable == {}


def test_nothing_is_unreadable_in_a_store_that_is_whole(client: TestClient) -> None:
    assert answered(client.get(f"{MODEL}/variants"), VariantList).unreadable == {}
