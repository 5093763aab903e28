"""What puts a variant out of date, and what does not."""

import os
import shutil
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from app import fingerprint
from app.active import State
from app.fingerprint import LIBRARIES, Inputs, library_versions, stale_variants
from app.model_card import BASELINE, Recipe, read_card
from app.report import Machine
from app.store import ArtifactStore

from tests.samples import a_manifest, publish

CARD = """
name = "tiny"
title = "A tiny ranker"
description = "For tests."
training.epochs = 3
budget.auc = 0.99
profile.samples = 100

[source]
kind = "architecture"
architecture = "deepfm"

[[schema.features]]
name = "item_id"
side = "item"
kind = "categorical"

[data]
source = "table"
config = { interactions = "OUTSIDE" }

[[recipes]]
name = "int8"
description = "Smaller."
seed = 1
steps = [{ technique = "quantize_dynamic", bits = 8 }]

[[recipes]]
name = "pruned"
steps = [{ technique = "prune" }]
"""
Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with data outside it."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    outside = tmp_path / "clicks.csv"
    outside.write_text("user_id,item_id,label\n")
    (folder / "model.toml").write_text(CARD.replace("OUTSIDE", str(outside)))
    (folder / "checkpoint.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("For people.")
    return folder


def prints(folder: Path) -> tuple[str, str]:
    """The fingerprints of the baseline and of the first recipe."""
    card = read_card(folder)
    return Inputs.of(card, folder).sha256(None), Inputs.of(card, folder).sha256(card.recipes[0])


def edit(before: str, after: str) -> Change:
    """Replace a part of the card."""

    def change(folder: Path) -> None:
        text = (folder / "model.toml").read_text()
        assert before in text
        (folder / "model.toml").write_text(text.replace(before, after))

    return change


def write(name: str, content: bytes = b"other") -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return change


def touch(seconds: int) -> Change:
    """Let the data outside the folder be older by so much."""

    def change(folder: Path) -> None:
        path = folder.parent.parent / "clicks.csv"
        moment = path.stat().st_mtime - seconds
        os.utime(path, (moment, moment))

    return change


@pytest.mark.parametrize(
    "change",
    [
        edit("auc = 0.99", "auc = 0.98"),
        edit("samples = 100", "samples = 101"),
        edit('"deepfm"', '"dlrm"'),
        edit('"categorical"', '"categorical"\nmin_count = 2'),
        edit('source = "table"', 'source = "table"\nsplit.seed = 1'),
        edit('source = "table"', 'source = "table"\ndisplay = ["title"]'),
        write("checkpoint.safetensors"),
        write("encoder.json"),
        write("code/build.py"),
        lambda folder: (folder / "checkpoint.safetensors").rename(folder / "last.safetensors"),
        lambda folder: (folder / "checkpoint.safetensors").unlink(),
        write("../../clicks.csv", b"user_id,item_id,label\n1,2,1\n"),
        touch(60),
    ],
)
def test_a_change_that_matters_to_every_variant(folder: Path, change: Change) -> None:
    before = prints(folder)
    change(folder)
    after = prints(folder)
    assert after[0] != before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize("change", [edit("bits = 8", "bits = 4"), edit("seed = 1", "seed = 2")])
def test_a_change_of_one_recipe_leaves_the_baseline_alone(folder: Path, change: Change) -> None:
    before = prints(folder)
    change(folder)
    after = prints(folder)
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize(
    "change",
    [
        edit("A tiny ranker", "Another title"),
        edit("For tests.", "Another description."),
        edit("Smaller.", "Much smaller."),
        edit("epochs = 3", "epochs = 4"),
        edit('technique = "prune"', 'technique = "prune", sparsity = 0.5'),
        edit("auc = 0.99", "auc = 0.990  # the same"),
        edit("[data]", '[policy]\nkind = "pinned"\nvariant = "baseline"\n\n[data]'),
        write("README.md"),
        write("docs/notes.md"),
        write("code/__pycache__/build.pyc"),
        write("../other/model.toml"),
        lambda folder: os.utime(folder / "checkpoint.safetensors", (0, 0)),
        lambda folder: (folder / "empty").mkdir(),
    ],
)
def test_a_change_that_does_not_matter(folder: Path, change: Change) -> None:
    before = prints(folder)
    change(folder)
    assert prints(folder) == before


def test_fingerprints_are_the_same_wherever_the_model_lies(folder: Path) -> None:
    before = prints(folder)
    moved = folder.parent.parent / "elsewhere"
    folder.parent.rename(moved)
    assert prints(moved / "tiny") == before


def test_the_baseline_and_every_recipe_differ(folder: Path) -> None:
    card = read_card(folder)
    found = {Inputs.of(card, folder).sha256(recipe) for recipe in (None, *card.recipes)}
    assert len(found) == 3
    assert all(len(one) == 64 for one in found)


def test_a_recipe_counts_by_its_steps_and_seed_not_by_its_name(folder: Path) -> None:
    card = read_card(folder)
    named = [Recipe(name=name, steps=({"technique": "prune"},)) for name in ("a", "b")]
    assert len({Inputs.of(card, folder).sha256(recipe) for recipe in named}) == 1


def test_libraries_instruction_sets_and_code_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {prints(folder)[0]}
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "library_versions", lambda: {"torch": "0.1"})
        found.add(prints(folder)[0])
    other = Machine("another", ["asimd"], 1, 1, "1", "1")
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "this_machine", lambda: other)
        found.add(prints(folder)[0])
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "_code_sha256", lambda: "0")
        found.add(prints(folder)[0])
    assert len(found) == 4


@pytest.mark.parametrize(
    "name",
    [
        *("training/fit.py", "training/data/sources/new.py", "compression/gate.py"),
        *("encoding.py", "schema.py", "machine.py"),
    ],
)
def test_all_code_that_makes_a_variant_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(Path(fingerprint.__file__).parent, tmp_path / "app")
    monkeypatch.setattr(fingerprint, "__file__", str(tmp_path / "app" / "fingerprint.py"))
    before = fingerprint._code_sha256.__wrapped__()
    with (tmp_path / "app" / "api" / "server.py").open("a") as file:
        file.write("# not code that makes a variant")
    assert fingerprint._code_sha256.__wrapped__() == before
    with (tmp_path / "app" / name).open("a") as file:
        file.write("# changed")
    assert fingerprint._code_sha256.__wrapped__() != before


def test_only_installed_libraries_have_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_versions() == {name: metadata.version(name) for name in LIBRARIES}
    monkeypatch.setattr(fingerprint, "LIBRARIES", ("numpy", "no-such-library"))
    assert library_versions() == {"numpy": metadata.version("numpy")}


def test_a_variant_is_stale_until_an_up_to_date_version_is_active(folder: Path, tmp_path: Path) -> None:
    card, store = read_card(folder), ArtifactStore(tmp_path / "store")
    assert stale_variants(card, folder, store) == [BASELINE, "int8", "pruned"]
    baseline, int8 = prints(folder)
    versions = {
        BASELINE: publish(store, a_manifest(inputs=baseline)).version,
        "int8": publish(store, a_manifest("int8", inputs="of an older card")).version,
    }
    assert stale_variants(card, folder, store) == [BASELINE, "int8", "pruned"], "nothing is active"
    store.activate("tiny", lambda state: State(versions, state.policy))
    assert stale_variants(card, folder, store) == ["int8", "pruned"]
    publish(store, a_manifest("int8", inputs=int8))
    assert stale_variants(card, folder, store) == ["pruned"], "it was made, and rolled back"


def test_what_a_variant_was_made_from_may_come_back(folder: Path, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    checkpoint, card = folder / "checkpoint.safetensors", read_card(folder)
    versions = []
    for weights in (b"weights", b"other weights"):
        checkpoint.write_bytes(weights)
        versions.append(publish(store, a_manifest(inputs=prints(folder)[0])).version)
        time.sleep(0.002)  # versions are ordered by the millisecond
    older, newer = versions
    store.activate("tiny", lambda state: State({BASELINE: newer}, state.policy))
    assert BASELINE not in stale_variants(card, folder, store)
    checkpoint.write_bytes(b"weights")
    assert BASELINE in stale_variants(card, folder, store), "the older version is wanted again"
    store.activate("tiny", lambda state: State({BASELINE: older}, state.policy))
    assert BASELINE not in stale_variants(card, folder, store)
    checkpoint.write_bytes(b"other weights")
    assert BASELINE not in stale_variants(card, folder, store), "the newer one was rolled back"


@pytest.mark.parametrize("link", [False, True], ids=["named", "linked"])
def test_a_folder_of_data_outside_counts_by_the_sizes_and_times_of_its_files(
    folder: Path, link: bool
) -> None:
    data = folder.parent / "shared"
    (data / "part").mkdir(parents=True)
    (data / "part" / "ratings.csv").write_text("1,2,3")
    if link:
        (folder / "data").symlink_to(data)
    edit(str(folder.parent.parent / "clicks.csv"), "data" if link else "../shared")(folder)
    before = prints(folder)
    assert prints(folder) == before
    (data / "part" / "ratings.csv").write_text("1,2,3\n1,3,5")
    after = prints(folder)
    assert not set(before) & set(after)
    (data / "more.csv").write_text("")
    assert not set(after) & set(prints(folder))


def test_text_that_is_no_path_is_none(folder: Path) -> None:
    edit(str(folder.parent.parent / "clicks.csv"), "\\u0000" + 5000 * "x")(folder)
    assert len(set(prints(folder))) == 2


def test_how_further_teachers_are_trained_counts_for_the_recipes_that_have_some(folder: Path) -> None:
    edit('technique = "quantize_dynamic", bits = 8', 'technique = "distill", teachers = 3')(folder)
    before = prints(folder)
    edit("training.epochs = 3", "training.epochs = 4")(folder)
    after = prints(folder)
    assert before[0] == after[0], "the baseline's weights are in its file"
    assert before[1] != after[1]
