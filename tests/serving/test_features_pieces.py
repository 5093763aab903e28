"""Encoding in pieces gives what encoding at once gives, and refuses what that refuses."""

import random
from typing import Any

import numpy as np
import pytest
from app.errors import InvalidInput
from app.serving.features import FeatureReader
from app.serving.query import Encoded, Query

from tests.samples import a_catalog

COUNT = 1300
READER = FeatureReader(a_catalog(), max_candidates=COUNT)
SOME = random.Random(0)


def in_pieces(query: Query) -> tuple[Encoded, int]:
    """What comes out, and in how many steps."""
    pieces, steps = READER.encode_pieces(query), 1
    while True:
        try:
            next(pieces)
        except StopIteration as ended:
            return READER.encode(*ended.value), steps
        steps += 1


def objects() -> list[dict[str, Any]]:
    """Candidates of which the catalog has some; some bring features, and few of them all."""
    makers: dict[str, Any] = {
        "genres": lambda: SOME.choice([["war"], ["drama", "unheard of", "war"], [], "war|drama", None]),
        "tags": lambda: [str(SOME.random()) for _ in range(SOME.randrange(4))],
        "year": lambda: SOME.choice([1950, 2001.5, None]),
        "views": lambda: SOME.randrange(1000),
        "image": lambda: [SOME.random(), -1],
    }
    ids = ["i1", "i2", *(f"new-{number}" for number in range(COUNT - 2))]
    return [
        {"item_id": one} | {name: make() for name, make in makers.items() if SOME.random() < 0.5}
        for one in SOME.sample(ids, COUNT)
    ]


def as_columns(candidates: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = {name for one in candidates for name in one}
    return {name: [one.get(name) for one in candidates] for name in names}


MANY = objects()
QUERIES = {
    "objects": MANY,
    "columns": as_columns(MANY),
    "ids": ["i2", "i1", "nobody"],
    "ids in columns": {"item_id": ["i2", "nobody"]},
    "ids in objects": [{"item_id": "i2"}, {"item_id": "nobody"}],
    "the catalog": None,
}


@pytest.mark.parametrize("candidates", QUERIES.values(), ids=QUERIES)
def test_pieces_make_the_whole(candidates: Any) -> None:
    query = Query(user={"user_id": "u1"}, context={}, candidates=candidates)
    expected, (found, steps) = READER.encode(query), in_pieces(query)
    assert steps > 10 if candidates in (MANY, QUERIES["columns"]) else steps == 1
    assert [*found.item_ids, found.unknown_items] == [*expected.item_ids, expected.unknown_items]
    assert found.features.rows == expected.features.rows
    assert found.catalog_rows.tolist() == expected.catalog_rows.tolist()
    assert found.features.inputs.keys() == expected.features.inputs.keys()
    for name, values in expected.features.inputs.items():
        assert values.dtype == found.features.inputs[name].dtype
        assert np.array_equal(values, found.features.inputs[name])


WRONG: dict[str, Any] = {
    "a value in a later piece": [*MANY[:-1], {"item_id": "last", "year": "old"}],
    "a list in a later piece": [*MANY[:-1], {"item_id": "last", "tags": [True]}],
    "an unknown feature": [*MANY[:-1], {"item_id": "last", "price": 1}],
    "no id": [*MANY[:-1], {"year": 2000}],
    "twice": [*MANY[:-1], MANY[0]],
    "too many": [*MANY, {"item_id": "last"}],
    "none": [],
    "unequal columns": {"item_id": ["i1", "i2"], "year": [1]},
}


@pytest.mark.parametrize("candidates", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_alike(candidates: Any) -> None:
    query = Query(user={}, context={}, candidates=candidates)
    with pytest.raises(InvalidInput) as at_once:
        READER.encode(query)
    with pytest.raises(InvalidInput) as later:
        in_pieces(query)
    told = [(type(one.value), one.value.message, one.value.details) for one in (at_once, later)]
    assert told[0] == told[1]
