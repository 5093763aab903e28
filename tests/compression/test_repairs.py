"""What is damaged in the store is made again, and nothing else is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE, MANIFEST_FILE, REPORT_FILE, verify
from app.catalog import ENCODER_FILE
from app.compression.pipeline import compress
from app.compression.site import Outcome, Selection, Site
from app.fingerprint import stale_variants
from app.model_card import read_card
from app.store import CATALOG

from tests.small_model import NAME, SmallModel


def run(model: SmallModel) -> tuple[list[str], list[tuple[float, str]]]:
    """The variants that were made again, and the progress that was told."""
    told: list[tuple[float, str]] = []
    site = Site(model.models, model.store, model.cache)
    outcomes: list[Outcome] = compress(NAME, Selection(origin="repair"), site, lambda *one: told.append(one))
    return [one.variant for one in outcomes if not one.reused], told


def active_folder(model: SmallModel, variant: str) -> Path:
    return model.store.folder(NAME, variant, model.store.active(NAME).state.versions[variant])


def catalog_folder(model: SmallModel) -> Path:
    version = model.store.active(NAME).state.versions["baseline"]
    catalog = model.store.manifest(NAME, "baseline", version).catalog
    assert catalog is not None
    return model.store.folder(NAME, CATALOG, catalog)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def serves_whole(model: SmallModel) -> None:
    """Everything that is active is as published, and nothing is left to do."""
    for variant, version in model.store.active(NAME).state.versions.items():
        manifest = verify(model.store.folder(NAME, variant, version))
        assert manifest.catalog is not None
        verify(model.store.folder(NAME, CATALOG, manifest.catalog))
    card = read_card(model.models / NAME)
    assert stale_variants(card, model.models / NAME, model.store) == []
    assert run(model)[0] == []


@pytest.mark.parametrize("damage", [flip_a_bit, cut, Path.unlink])
@pytest.mark.parametrize("file", [GRAPH_FILE, GRAPH_DATA_FILE, REPORT_FILE, MANIFEST_FILE])
def test_a_damaged_variant_is_made_again(
    ready: SmallModel, file: str, damage: Callable[[Path], None]
) -> None:
    damaged = active_folder(ready, "int8-static")
    damage(damaged / file)
    made, _ = run(ready)
    assert made == ["int8-static"]
    assert active_folder(ready, "int8-static") != damaged
    serves_whole(ready)


@pytest.mark.parametrize("file", [GRAPH_FILE, MANIFEST_FILE])
def test_a_damaged_baseline_is_made_again_alone(ready: SmallModel, file: str) -> None:
    flip_a_bit(active_folder(ready, "baseline") / file)
    assert run(ready)[0] == ["baseline"]
    serves_whole(ready)


@pytest.mark.parametrize("file", [ENCODER_FILE, "items.json", "item.price.npy", MANIFEST_FILE, "."])
def test_a_damaged_catalog_is_made_again_with_the_baseline(ready: SmallModel, file: str) -> None:
    catalog = catalog_folder(ready)
    if file == ".":
        shutil.rmtree(catalog)
    else:
        flip_a_bit(catalog / file)
    made, told = run(ready)
    assert made == ["baseline"]
    assert told[0][1].startswith(f"baseline: made again, because {NAME}/{CATALOG}/{catalog.name}")
    assert catalog_folder(ready) == catalog, "the same content is the same version"
    serves_whole(ready)


def test_all_that_is_damaged_is_made_again_in_one_run(ready: SmallModel) -> None:
    for variant, file in (
        ("baseline", GRAPH_FILE),
        ("int8-dynamic", MANIFEST_FILE),
        ("int8-static", REPORT_FILE),
    ):
        cut(active_folder(ready, variant) / file)
    flip_a_bit(catalog_folder(ready) / "users.json")
    made, told = run(ready)
    assert made == ["baseline", "int8-dynamic", "int8-static"]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert "int8-static: made again, because" in " ".join(what for _, what in told)
    serves_whole(ready)


def test_damage_that_nobody_serves_is_left_to_verify(ready: SmallModel) -> None:
    old = active_folder(ready, "int8-static")
    site = Site(ready.models, ready.store, ready.cache)
    compress(NAME, Selection(["int8-static"], force=True), site, lambda *one: None)
    flip_a_bit(old / MANIFEST_FILE)
    assert run(ready)[0] == []
    assert [name for name, fault in ready.store.verify() if fault] == [f"{NAME}/int8-static/{old.name}"]
