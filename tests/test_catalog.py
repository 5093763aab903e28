"""The catalog: what is written comes back, and parts that do not fit together are refused."""

import io
import mmap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app.catalog import ENCODER_FILE, Catalog
from app.encoding import Array, Encoder
from app.errors import ArtifactCorrupt
from app.schema import Side, is_id, trailing_shape
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import a_catalog, an_encoder

Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    a_catalog().write(tmp_path)
    return tmp_path


def an_empty_catalog() -> Catalog:
    """The catalog of a model without data."""
    encoder = an_encoder()
    schema = encoder.schema

    def no_rows(side: Side) -> dict[str, Array]:
        return {one.name: encoder.missing(one.name, 0) for one in schema.of_side(side)}

    offsets, seen = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    return Catalog(encoder, [], [], no_rows(Side.ITEM), no_rows(Side.USER), {}, offsets, seen)


def same(one: Catalog, other: Catalog) -> bool:
    arrays = [
        {**c.items, **{f"user {k}": v for k, v in c.users.items()}, "o": c.seen_offsets, "s": c.seen_items}
        for c in (one, other)
    ]
    assert arrays[0].keys() == arrays[1].keys()
    return (
        (one.item_ids, one.user_ids, one.display) == (other.item_ids, other.user_ids, other.display)
        and one.encoder.to_json() == other.encoder.to_json()
        and all(
            values.dtype == arrays[1][name].dtype and np.array_equal(values, arrays[1][name])
            for name, values in arrays[0].items()
        )
    )


@pytest.mark.parametrize("make", [a_catalog, an_empty_catalog])
def test_a_catalog_comes_back_as_it_was_written(tmp_path: Path, make: Callable[[], Catalog]) -> None:
    make().write(tmp_path)
    assert same(Catalog.open(tmp_path), make())


def test_equal_catalogs_are_written_as_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        a_catalog().write(tmp_path / name)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second


def test_the_files_are_those_that_the_docstring_lists(folder: Path) -> None:
    schema = a_catalog().encoder.schema
    arrays = [f"{one.side}.{one.name}" for one in schema.of_side(Side.ITEM, Side.USER)]
    arrays += ["seen.offsets", "seen.items"]
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}.npy" for name in arrays),
        *("encoder.json", "items.json", "users.json"),
    }


def test_arrays_are_mapped_and_cannot_be_changed(folder: Path) -> None:
    catalog = Catalog.open(folder)
    for values in (
        *catalog.items.values(),
        *catalog.users.values(),
        catalog.seen_offsets,
        catalog.seen_items,
    ):
        base: Any = values
        while isinstance(base, np.ndarray) and base.base is not None:
            base = base.base
        assert isinstance(base, mmap.mmap)
        assert not values.flags.writeable


def test_a_catalog_outlives_its_folder(folder: Path) -> None:
    catalog = Catalog.open(folder)
    for path in folder.iterdir():
        path.unlink()
    assert same(catalog, a_catalog())


def test_rows_are_found_by_raw_id() -> None:
    catalog = a_catalog()
    assert [catalog.item_row(raw) for raw in ("i1", "i2", "new", "nope", "")] == [0, 1, 2, -1, -1]
    assert [catalog.user_row(raw) for raw in ("u1", "u2", "nope")] == [0, 1, -1]
    rows = catalog.item_rows(["new", "nope", "i1"])
    assert (rows.dtype, rows.tolist()) == (np.int64, [2, -1, 0])
    assert catalog.item_rows([]).shape == (0,)


def test_what_a_user_has_seen() -> None:
    catalog = a_catalog()
    assert [catalog.seen(row).tolist() for row in (0, 1, -1)] == [[], [0, 2], []]


@given(sets=st.lists(st.sets(st.integers(0, 2)), max_size=5))
def test_each_user_has_seen_exactly_their_own_items(sets: list[set[int]]) -> None:
    catalog = a_catalog()
    users = [f"user {number}" for number in range(len(sets))]
    with_users = replace(
        catalog,
        user_ids=users,
        users={name: catalog.encoder.missing(name, len(users)) for name in catalog.users},
        seen_offsets=np.cumsum([0, *map(len, sets)], dtype=np.int64),
        seen_items=np.array([item for one in sets for item in sorted(one)], dtype=np.int32),
    )
    assert [set(with_users.seen(with_users.user_row(user)).tolist()) for user in users] == sets


def array(name: str, values: Any, dtype: Any) -> Damage:
    return lambda folder: np.save(folder / f"{name}.npy", np.array(values, dtype=dtype))


def text(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (array("item.item_id", [1, 2], np.int64), "feature 'item_id' has the wrong shape or type"),
        (array("item.item_id", [1, 2, 0], np.int32), "feature 'item_id' has the wrong shape or type"),
        (array("item.item_id", [[1], [2], [0]], np.int64), "feature 'item_id' has the wrong shape"),
        (array("item.year", [0, 1, 0], np.float64), "feature 'year' has the wrong shape or type"),
        (array("item.image", [[0, 1, 0]] * 3, np.float32), "feature 'image' has the wrong shape"),
        (array("user.history", [[0, 0]] * 2, np.int64), "feature 'history' has the wrong shape"),
        (array("user.user_id", [1], np.int64), "feature 'user_id' has the wrong shape or type"),
        (
            text("items.json", b'{"ids": ["a", "b", "a"], "display": {}}'),
            "items or users: an id is named twice",
        ),
        (text("users.json", b'{"ids": ["a", "a"]}'), "items or users: an id is named twice"),
        (text("items.json", b'{"ids": ["a", "b", "c"], "display": {"x": [1]}}'), "one value per item"),
        (array("seen.offsets", [0, 2], np.int64), "seen items do not fit its users"),
        (array("seen.offsets", [0, 0, 1], np.int64), "seen items do not fit its users"),
        (array("seen.offsets", [0, 0, 3], np.int64), "seen items do not fit its users"),
        (array("seen.offsets", [1, 1, 2], np.int64), "seen items do not fit its users"),
        (array("seen.offsets", [0, 3, 2], np.int64), "seen items do not fit its users"),
        (array("seen.offsets", [[0, 0, 2]], np.int64), "seen items do not fit its users"),
        (array("seen.offsets", 0, np.int64), "seen items do not fit its users"),
        (array("seen.offsets", [0, 0, 2], np.float64), "seen items do not fit its users"),
        (array("seen.items", [0, 3], np.int32), "seen items do not fit its items"),
        (array("seen.items", [-1, 2], np.int32), "seen items do not fit its items"),
        (array("seen.items", [0.0, 2.0], np.float32), "seen items do not fit its items"),
        (array("seen.items", [[0, 0], [2, 2]], np.int32), "seen items do not fit its items"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(folder: Path, damage: Damage, words: str) -> None:
    damage(folder)
    with pytest.raises(ArtifactCorrupt, match=words):
        Catalog.open(folder)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


@pytest.mark.parametrize(
    "name", ["encoder.json", "items.json", "users.json", "item.year.npy", "seen.items.npy"]
)
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * 200),
        lambda path: path.write_bytes(b"{}"),
        lambda path: path.write_bytes(b"PK\x05\x06" + b"\x00" * 18),
        lambda path: path.write_bytes(b"PK\x03\x04"),
        lambda path: path.write_bytes(saved(lambda file: np.savez(file, a=np.zeros(3)))),
        lambda path: path.write_bytes(saved(lambda file: np.save(file, np.array([{}] * 3)))),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["gone", "empty", "bytes", "braces", "zip", "half zip", "npz", "pickle", "cut", "half", "folder"],
)
def test_a_part_that_is_something_else_is_refused(folder: Path, name: str, damage: Damage) -> None:
    damage(folder / name)
    with pytest.raises(ArtifactCorrupt) as caught:
        Catalog.open(folder)
    assert str(folder.parent) not in caught.value.message


def test_an_encoder_of_another_schema_is_refused(folder: Path) -> None:
    other = an_encoder().to_json().replace(b'"max_length":2', b'"max_length":1')
    (folder / ENCODER_FILE).write_bytes(other)
    with pytest.raises(ArtifactCorrupt, match="feature 'genres' has the wrong shape"):
        Catalog.open(folder)


def test_every_feature_of_items_and_users_has_an_array_that_the_graph_takes(folder: Path) -> None:
    catalog = Catalog.open(folder)
    encoder = Encoder.from_json((folder / ENCODER_FILE).read_bytes())
    for feature in encoder.schema.of_side(Side.ITEM, Side.USER):
        values = (catalog.items if feature.per_candidate else catalog.users)[feature.name]
        assert values.shape[1:] == trailing_shape(feature)
        assert values.dtype == (np.int64 if is_id(feature) else np.float32)
