"""What an encoder learns, and from which rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from app.encoding import Encoder, Scale
from app.errors import ConfigurationError
from app.training.fit_encoder import fit_encoder
from hypothesis import given
from hypothesis import strategies as st

from tests.training.lessons import ITEM, USER, dataset_of, schema_of

DEVICE = {"name": "device", "side": "context", "kind": "categorical"}
YEAR = {"name": "year", "side": "item", "kind": "number"}
GENRES = {"name": "genres", "side": "item", "kind": "multi", "max_length": 2, "separator": "|"}


def fitted(
    features: Sequence[Mapping[str, Any]], item_ids: Sequence[str], train: Sequence[int], **item_columns: Any
) -> Encoder:
    """Fitted on some rows of one user; `item_columns` have one value for each of the items a, b, c and d."""
    rows = {"user_id": ["u"] * len(item_ids), "item_id": list(item_ids)}
    items = {"item_id": list("abcd"), **item_columns}
    dataset = dataset_of(rows, None, items)
    return fit_encoder(schema_of(*features), dataset, np.array(train, dtype=np.int64))


def test_a_vocabulary_is_ordered_by_frequency_and_then_by_id() -> None:
    encoder = fitted([ITEM], "dcbabadd", range(8))
    assert encoder.vocabularies == {"item_id": ["d", "a", "b", "c"]}


def test_rare_ids_are_out_of_vocabulary() -> None:
    encoder = fitted([ITEM | {"min_count": 2}], "dcbabadd", range(8))
    assert encoder.vocabularies == {"item_id": ["d", "a", "b"]}
    assert fitted([ITEM | {"min_count": 9}], "dcbabadd", range(8)).vocabularies == {"item_id": []}


def test_features_of_items_weigh_by_their_rows() -> None:
    """Item a is met three times and b once; c and d never in training."""
    genres = ["war|drama", "drama||war|war", "comedy", None]
    encoder = fitted([ITEM, GENRES, YEAR], "aabacd", range(4), genres=genres, year=[1990, 2010, 0, None])
    assert encoder.vocabularies == {"item_id": ["a", "b"], "genres": ["war", "drama"]}
    assert encoder.scales["year"].mean == pytest.approx((3 * 1990 + 2010) / 4)
    assert encoder.scales["year"].deviation == pytest.approx(np.std([1990, 1990, 1990, 2010]))


def test_nothing_outside_the_training_rows_is_learned() -> None:
    features = [USER, ITEM, DEVICE, YEAR]
    rows = {
        "user_id": ["u1", "u2", "u3", "u1"],
        "item_id": ["a", "b", "c", "b"],
        "device": ["tv", "phone", "watch", "tv"],
    }
    users, items = {"user_id": ["u1", "u2", "u3"]}, {"item_id": list("abc"), "year": [1, 2, 1000]}
    train = np.array([0, 1])
    encoder = fit_encoder(schema_of(*features), dataset_of(rows, users, items), train)
    assert encoder.vocabularies == {
        "user_id": ["u1", "u2"],
        "item_id": ["a", "b"],
        "device": ["phone", "tv"],
    }
    assert encoder.scales == {"year": Scale(1.5, 0.5)}
    other = {name: [*values[:2], values[0], values[0]] for name, values in rows.items()}
    changed = dataset_of(other, users, items | {"year": [1, 2, -7]})
    assert fit_encoder(schema_of(*features), changed, train).sha256 == encoder.sha256


def test_lists_numbers_and_missing_values_as_ids() -> None:
    """Whole numbers are ids like any other; a missing or empty id is none."""
    number = ITEM | {"name": "shop"}
    lists = GENRES | {"separator": None}
    encoder = fitted(
        [number, lists],
        "abcd",
        range(4),
        shop=[7, 7, 5, None],
        genres=[["x", ""], ["x", None, "y"], [], None],
    )
    assert encoder.vocabularies == {"shop": ["7", "5"], "genres": ["x", "y"]}


def test_hashed_features_and_plain_numbers_need_nothing() -> None:
    hashed = ITEM | {"encoding": "hash", "buckets": 4}
    encoder = fitted([hashed, YEAR | {"transform": "none"}], "ab", [0, 1], year=[1, 2, 3, 4])
    assert (encoder.vocabularies, encoder.scales) == ({}, {})


def test_a_logarithm_is_taken_first() -> None:
    log = YEAR | {"transform": "log1p"}
    scale = fitted([ITEM, log], "abb", range(3), year=[0, math.e - 1, -5, -5]).scales["year"]
    assert scale.mean == pytest.approx(2 / 3)
    assert scale.deviation == pytest.approx(np.std([0, 1, 1]))


@given(st.floats(-1e12, 1e12), st.integers(1, 60), st.sampled_from(["standardize", "log1p"]))
def test_a_constant_is_encoded_as_0(value: float, count: int, transform: str) -> None:
    value = abs(value) if transform == "log1p" else value
    encoder = fitted([ITEM, YEAR | {"transform": transform}], "a" * count, range(count), year=[value] * 4)
    assert encoder.encode("year", [value]).tolist() == [0.0]
    assert encoder.scales["year"].deviation == 1.0, "and another value is not blown up"


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4, unique=True))
def test_scaled_training_values_have_mean_0_and_deviation_1(years: list[float]) -> None:
    encoder = fitted([ITEM, YEAR], "abcd", range(4), year=years)
    scaled = encoder.encode("year", years).astype(np.float64)
    assert scaled.mean() == pytest.approx(0, abs=1e-4)
    assert scaled.std() == pytest.approx(1, abs=1e-4)


def test_a_number_that_is_never_there_has_a_scale() -> None:
    encoder = fitted([ITEM, YEAR], "ab", [0, 1], year=[None, None, 3.0, 4.0])
    assert encoder.scales["year"] == Scale(0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "transform", "why"),
    [
        (
            ["old", "new", "1", "2"],
            "standardize",
            "feature 'year' is a number, and its column holds something",
        ),
        ([1, -1, 2, 3], "log1p", "feature 'year' is log-scaled, and its column holds negative numbers"),
    ],
)
def test_a_column_that_is_no_number(values: list[Any], transform: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        fitted([ITEM, YEAR | {"transform": transform}], "ab", [0, 1], year=values)
