"""From a query to arrays: what the catalog has, what the request brings, and which rows come out."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from app.catalog import Catalog
from app.compression.make_catalog import make_catalog
from app.encoding import Array
from app.serving.features import FeatureReader
from app.serving.query import Encoded, Query
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import a_catalog, an_encoder

CATALOG = a_catalog()
NOTHING = make_catalog(an_encoder(), None, ())
"""The catalog of a model without data."""


def encode(candidates: Any = ("i1",), *, catalog: Catalog = CATALOG, **query: Any) -> Encoded:
    query = {"user": {}, "context": {}, **query}
    return FeatureReader(catalog, max_candidates=100).encode(Query(candidates=candidates, **query))


def inputs(encoded: Encoded) -> dict[str, Array]:
    """All features; those of items that are named by their rows are the catalog's."""
    rows = encoded.features.catalog_rows
    items = {} if rows is None else {name: values[rows] for name, values in CATALOG.items.items()}
    return {**encoded.features.inputs, **items}


def same(one: Encoded, other: Encoded) -> bool:
    ours, theirs = inputs(one), inputs(other)
    return (
        (one.features.rows, one.item_ids, one.unknown_items, one.unknown_user)
        == (other.features.rows, other.item_ids, other.unknown_items, other.unknown_user)
        and one.catalog_rows.tolist() == other.catalog_rows.tolist()
        and ours.keys() == theirs.keys()
        and all(
            values.dtype == theirs[name].dtype and np.array_equal(values, theirs[name])
            for name, values in ours.items()
        )
    )


def item(encoded: Encoded, name: str) -> Array:
    return inputs(encoded)[name]


OWN = {
    "genres": st.lists(st.sampled_from(["war", "drama", "unheard of"]), max_size=3) | st.just("war|drama"),
    "tags": st.lists(st.text(max_size=3), max_size=4),
    "year": st.integers(1900, 2100) | st.floats(-1e6, 1e6),
    "views": st.integers(0, 10**9),
    "ratio": st.floats(-1, 1, width=32),
    "image": st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=2),
}
"""A strategy for each feature that a candidate may bring."""
OBJECTS = st.lists(
    st.tuples(
        st.sampled_from(["i1", "i2", "new", "i3", "nobody knows", ""]),
        st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in OWN.items()}),
    ).map(lambda pair: {"item_id": pair[0], **pair[1]}),
    min_size=1,
    unique_by=lambda one: one["item_id"],
)


@given(OBJECTS)
def test_objects_and_columns_give_equal_arrays(objects: list[dict[str, Any]]) -> None:
    names = {name for one in objects for name in one}
    columns = {name: [one.get(name) for one in objects] for name in names}
    assert same(encode(objects), encode(columns))


@given(st.lists(st.sampled_from(["i1", "i2", "new", "i3", ""]), min_size=1, unique=True))
def test_bare_ids_are_as_good_as_objects_and_columns_of_ids(ids: list[str]) -> None:
    plain = encode(ids)
    assert same(plain, encode([{"item_id": one} for one in ids]))
    assert same(plain, encode({"item_id": ids}))


@given(OBJECTS)
def test_each_candidate_is_encoded_as_it_would_be_alone(objects: list[dict[str, Any]]) -> None:
    together = encode(objects)
    alone = [encode([one]) for one in objects]
    for name, values in inputs(together).items():
        if CATALOG.encoder.schema[name].per_candidate:
            rows = [item(one, name) for one in alone]
            assert np.array_equal(values, np.concatenate(rows))
    assert [*together.item_ids, *together.unknown_items] == [
        *(one for single in alone for one in single.item_ids),
        *(one for single in alone for one in single.unknown_items),
    ]


def test_candidates_of_the_catalog_take_its_features_in_the_order_of_the_request() -> None:
    encoded = encode(["new", "i1"])
    assert encoded.catalog_rows.tolist() == [2, 0]
    for name, values in CATALOG.items.items():
        assert np.array_equal(item(encoded, name), values[[2, 0]])


def test_a_feature_of_the_request_replaces_that_of_the_catalog_and_null_does_not() -> None:
    encoded = encode([{"item_id": "i1", "ratio": 0.25}, {"item_id": "i2", "ratio": None, "year": 2010}])
    assert item(encoded, "ratio").tolist() == [0.25, CATALOG.items["ratio"][1]]
    assert item(encoded, "year").tolist() == [CATALOG.items["year"][0], 2.0]
    assert np.array_equal(item(encoded, "image"), CATALOG.items["image"][:2])


def test_a_candidate_that_brings_features_is_ranked_cold() -> None:
    encoded = encode([{"item_id": "i1"}, {"item_id": "stranger", "ratio": 0.75}])
    assert (encoded.item_ids, encoded.unknown_items) == (["i1", "stranger"], [])
    assert encoded.catalog_rows.tolist() == [0, -1]
    assert item(encoded, "ratio").tolist() == [0.5, 0.75]
    for name in ("item_id", "genres", "tags", "year", "views", "image"):
        assert not item(encoded, name)[1].any(), "everything else of it is missing"


def test_an_id_that_only_the_encoder_knows_keeps_its_index() -> None:
    candidates = [{"item_id": "i4", "ratio": 0.5}, {"item_id": "stranger", "ratio": 0.5}]
    for catalog in (CATALOG, NOTHING):
        assert item(encode(candidates, catalog=catalog), "item_id").tolist() == [4, 0]


def test_candidates_of_which_nothing_is_known_are_set_aside() -> None:
    encoded = encode(["a", "i2", "b", "i1"])
    assert (encoded.item_ids, encoded.unknown_items) == (["i2", "i1"], ["a", "b"])
    assert encoded.features.rows == 2
    assert item(encoded, "item_id").tolist() == [2, 1]
    assert encode([{"item_id": "a", "ratio": None}]).unknown_items == ["a"]


def test_all_may_be_unknown() -> None:
    encoded = encode(["a", "b"])
    assert (encoded.item_ids, encoded.unknown_items, encoded.features.rows) == ([], ["a", "b"], 0)
    assert item(encoded, "image").shape == (0, 2)


def test_an_empty_catalog_ranks_what_brings_features() -> None:
    encoded = encode([{"item_id": "i1", "year": 2000, "tags": ["a"]}, {"item_id": "i2"}], catalog=NOTHING)
    assert (encoded.item_ids, encoded.unknown_items) == (["i1"], ["i2"])
    assert item(encoded, "year").tolist() == [1.0]
    assert np.array_equal(item(encoded, "tags"), an_encoder().encode("tags", [["a"]]))


def test_an_empty_catalog_recommends_nothing() -> None:
    encoded = encode(None, catalog=NOTHING, user={"user_id": "u1"})
    assert (list(encoded.item_ids), encoded.features.rows, encoded.unknown_user) == ([], 0, True)


def test_a_known_user_has_the_features_of_the_catalog() -> None:
    encoded = encode(user={"user_id": "u2"})
    assert not encoded.unknown_user
    for name, values in CATALOG.users.items():
        assert np.array_equal(item(encoded, name), values[1:2])


@pytest.mark.parametrize("user", [{}, {"user_id": None}, {"user_id": "nobody"}, {"user_id": ""}])
def test_a_user_that_the_catalog_does_not_have_is_an_unknown_user(user: dict[str, Any]) -> None:
    encoded = encode(user=user)
    assert encoded.unknown_user
    assert item(encoded, "user_id").tolist() == [0]
    assert item(encoded, "history").tolist() == [[0, 0, 0]]


def test_features_of_the_user_in_the_request_replace_those_of_the_catalog() -> None:
    encoded = encode(user={"user_id": "u2", "history": ["i5"]})
    assert item(encoded, "history").tolist() == [[5, 0, 0]]
    assert item(encoded, "user_id").tolist() == [2]
    assert np.array_equal(
        item(encode(user={"user_id": "u2", "history": None}), "history"), CATALOG.users["history"][1:]
    )


def test_context_is_encoded_or_missing() -> None:
    assert item(encode(), "device").tolist() == [0]
    assert item(encode(context={"device": None}), "device").tolist() == [0]
    expected = CATALOG.encoder.encode("device", ["phone"])
    assert np.array_equal(item(encode(context={"device": "phone"}), "device"), expected)


def test_the_whole_catalog_is_ranked_when_no_candidates_are_named() -> None:
    encoded = encode(None)
    assert (list(encoded.item_ids), encoded.catalog_rows.tolist()) == (["i1", "i2", "new"], [0, 1, 2])
    for name, values in CATALOG.items.items():
        assert np.array_equal(item(encoded, name), values)


def test_excluded_items_are_left_out_and_unknown_ones_do_no_harm() -> None:
    assert list(encode(None, exclude=["i2", "nobody", "i2"]).item_ids) == ["i1", "new"]
    assert encode(None, exclude=["i1", "i2", "new"]).features.rows == 0


def test_seen_items_are_left_out_for_a_user_of_the_catalog_alone() -> None:
    assert list(encode(None, user={"user_id": "u2"}, exclude_seen=True).item_ids) == ["i2"]
    assert list(encode(None, user={"user_id": "u2"}, exclude_seen=False).item_ids) == ["i1", "i2", "new"]
    assert list(encode(None, user={"user_id": "u1"}, exclude_seen=True).item_ids) == ["i1", "i2", "new"]
    assert list(encode(None, exclude_seen=True).item_ids) == ["i1", "i2", "new"]
    both = encode(None, user={"user_id": "u2"}, exclude_seen=True, exclude=["i2"])
    assert list(both.item_ids) == []


def test_reading_a_query_does_not_change_the_catalog() -> None:
    catalog = replace(CATALOG, items={name: values.copy() for name, values in CATALOG.items.items()})
    encode(
        [{"item_id": "i1", "ratio": 9, "image": [9, 9]}, {"item_id": "x", "tags": ["q"]}],
        catalog=catalog,
        user={"user_id": "u2", "history": ["i1"]},
    )
    for name, values in catalog.items.items():
        assert np.array_equal(values, CATALOG.items[name])
