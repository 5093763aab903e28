"""What is wrong with a query is told by its field, its feature and its position."""

from typing import Any

import pytest
from app.errors import InvalidInput, UnknownFeature
from app.serving.features import FeatureReader
from app.serving.query import Query

from tests.samples import a_catalog

READER = FeatureReader(a_catalog(), max_candidates=3)


def refused(candidates: Any = ("i1",), **query: Any) -> InvalidInput:
    query = {"user": {}, "context": {}, **query}
    with pytest.raises(InvalidInput) as raised:
        READER.encode(Query(candidates=candidates, **query))
    return raised.value


@pytest.mark.parametrize("candidates", [[], {"item_id": []}])
def test_no_candidates_are_refused(candidates: Any) -> None:
    error = refused(candidates)
    assert (error.message, error.details) == (
        "candidates: at least one is needed",
        {"field": "candidates"},
    )


@pytest.mark.parametrize(
    "candidates",
    [
        ["a", "b", "c", "d"],
        [{"item_id": one} for one in "abcd"],
        {"item_id": ["a", "b", "c", "d"]},
    ],
)
def test_too_many_candidates_are_refused_and_the_limit_is_said(candidates: Any) -> None:
    error = refused(candidates)
    assert error.message == "candidates: 4 are too many; at most 3 are taken"
    assert error.details == {"field": "candidates", "max_candidates": 3}


def test_the_limit_itself_is_allowed() -> None:
    assert READER.encode(Query({}, {}, ["i1", "i2", "new"])).features.rows == 3


@pytest.mark.parametrize(
    "candidates",
    [["x", "i1", "x"], [{"item_id": "x"}, {"item_id": "x"}], {"item_id": ["x", "i1", "x"]}],
)
def test_an_id_that_is_named_twice_is_refused(candidates: Any) -> None:
    assert refused(candidates).message == "candidates: 'x' is named twice"


@pytest.mark.parametrize("bad", [1, 1.5, None, True, ["i1"], {"a": 1}])
def test_ids_must_be_text(bad: Any) -> None:
    for candidates in ([{"item_id": "i1"}, {"item_id": bad}], {"item_id": ["i1", bad]}):
        error = refused(candidates)
        assert error.message == "candidate 1: 'item_id' must be text"
        assert error.details == {"field": "candidates.item_id", "position": 1}
    if bad is not None:
        error = refused(user={"user_id": bad})
        assert error.message == "user: 'user_id' must be text"
        assert error.details == {"field": "user.user_id"}


def test_a_candidate_without_an_id_is_refused() -> None:
    error = refused([{"item_id": "i1"}, {"year": 1990}])
    assert error.details == {"field": "candidates.item_id", "position": 1}
    error = refused({"year": [1990]})
    assert error.message == "candidates: 'item_id' is missing"
    assert error.details == {"field": "candidates.item_id"}


def test_columns_must_be_equally_long() -> None:
    error = refused({"item_id": ["i1", "i2"], "year": [1990]})
    assert error.message == "candidates: 'year' has 1 values, and 'item_id' has 2"
    assert error.details == {"field": "candidates.year"}


@pytest.mark.parametrize(
    ("field", "query", "known"),
    [
        ("user", {"user": {"device": "phone"}}, "history, user_id"),
        ("context", {"context": {"year": 1990}}, "device"),
        ("candidates", {"candidates": [{"item_id": "i1", "history": []}]}, "genres, image, item_id"),
        ("candidates", {"candidates": {"item_id": ["i1"], "device": ["a"]}}, "genres, image, item_id"),
    ],
)
def test_a_feature_of_another_side_is_unknown_and_the_right_ones_are_listed(
    field: str, query: dict[str, Any], known: str
) -> None:
    error = refused(**query)
    assert isinstance(error, UnknownFeature)
    assert f"there are: {known}" in error.message
    assert error.details == {"field": field}


@pytest.mark.parametrize(
    ("feature", "bad", "reason"),
    [
        ("genres", {"a": 1}, "expected a list of ids, got an object"),
        ("tags", "a|b", "expected a list of ids, got text"),
        ("tags", [1.5], "expected an id (text or a whole number), got a number"),
        ("year", "1990", "expected a number, got text"),
        ("year", True, "expected a number, got a boolean"),
        ("year", 10**400, "expected a finite number"),
        ("views", -1, "expected a number of at least 0 (the feature is log-scaled)"),
        ("image", [1.0], "expected a list of 2 numbers"),
        ("image", [1.0, 1e39], "expected finite numbers of 32 bits"),
    ],
)
def test_a_value_that_does_not_fit_names_feature_and_position(feature: str, bad: Any, reason: str) -> None:
    for candidates in (
        [{"item_id": "i1"}, {"item_id": "i2", feature: bad}],
        {"item_id": ["i1", "i2"], feature: [None, bad]},
    ):
        error = refused(candidates)
        assert error.message == f"feature {feature!r}, value 1: {reason}"
        assert error.details == {"feature": feature, "position": 1}


def test_values_of_user_and_context_are_checked_too() -> None:
    assert refused(user={"history": "i1"}).details["feature"] == "history"
    assert refused(context={"device": ["phone"]}).details["feature"] == "device"


def test_an_endless_name_is_not_repeated_in_full() -> None:
    assert len(refused(user={"x" * 10_000: 1}).message) < 300
    assert len(refused(["x" * 10_000, "x" * 10_000]).message) < 300
