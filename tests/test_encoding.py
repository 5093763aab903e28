"""From raw values to indices and numbers, value by value."""

import math
from typing import Any

import numpy as np
import pytest
from app.encoding import FLOAT32_MAX, Encoder, Scale
from app.errors import ArtifactCorrupt, InvalidInput
from app.schema import FeatureSchema

from tests.samples import a_schema, an_encoder

ENCODER = an_encoder()


def encoded(name: str, *values: Any) -> list[Any]:
    return ENCODER.encode(name, values).tolist()


def test_known_ids_count_from_1_and_all_others_are_0() -> None:
    assert encoded("item_id", "i1", "i5", "i6", "", None, "I1") == [1, 5, 0, 0, 0, 0]
    assert ENCODER.encode("item_id", ["i1"]).dtype == np.int64


def test_an_id_may_be_a_whole_number() -> None:
    schema = FeatureSchema.model_validate(
        {"features": [{"name": "item_id", "side": "item", "kind": "categorical"}]}
    )
    encoder = Encoder(schema, {"item_id": ["7", "-1"]}, {})
    assert encoder.encode("item_id", [7, np.int64(7), "7", -1, 8, 10**400]).tolist() == [1, 1, 1, 2, 0, 0]


def test_no_values_give_no_rows() -> None:
    for feature in ENCODER.schema.features:
        assert len(ENCODER.encode(feature.name, [])) == 0


def test_every_id_has_a_bucket_but_a_missing_one() -> None:
    # The check value of CRC-32 is 0xcbf43926: the same on every machine and in every version.
    assert encoded("device", "123456789", 123456789) == [0xCBF43926 % 10 + 1] * 2
    assert encoded("device", None, "") == [0, 0]
    assert encoded("tags", [], None, ["", "123456789", None]) == [
        [0, 0, 0],
        [0, 0, 0],
        [0xCBF43926 % 5 + 1, 0, 0],
    ]


def test_a_text_without_a_form_in_utf_8_has_a_bucket_too() -> None:
    assert 1 <= encoded("device", "\ud800")[0] <= 10
    assert encoded("item_id", "\ud800") == [0]


def test_a_set_of_ids_keeps_its_first_known_ones() -> None:
    assert encoded("genres", ["comedy", "war", "drama", "war"], ["drama"], ["comedy"], []) == [
        [2, 1],
        [1, 0],
        [0, 0],
        [0, 0],
    ]


def test_a_history_keeps_its_newest_known_items() -> None:
    assert encoded("history", ["i1", "i2", "i3", "i4", "new"], ["i1", "new", "i2"], None) == [
        [2, 3, 4],
        [1, 2, 0],
        [0, 0, 0],
    ]


def test_a_text_is_split_where_the_feature_has_a_separator() -> None:
    assert encoded("genres", "war|drama", "war", "", "war|") == [[2, 1], [2, 0], [0, 0], [2, 0]]
    for name in ("tags", "history"):
        with pytest.raises(InvalidInput, match="expected a list of ids, got text"):
            ENCODER.encode(name, ["a|b"])


def test_numbers_are_scaled_and_a_missing_one_is_the_mean() -> None:
    assert encoded("year", 1990, 2000, 1985.0, None, np.float32(1990)) == [0.0, 1.0, -0.5, 0.0, 0.0]
    assert encoded("views", 0, None, math.e - 1) == [-0.5, 0.0, 0.0]
    assert encoded("ratio", 3, -0.5, None) == [3.0, -0.5, 0.0]
    assert ENCODER.encode("year", [1990]).dtype == np.float32


@pytest.mark.parametrize("name", ["year", "ratio"])
def test_a_huge_number_is_the_largest_one_of_32_bits(name: str) -> None:
    assert encoded(name, 1.7e308, -1.7e308) == [FLOAT32_MAX, -FLOAT32_MAX]


def test_a_number_beyond_64_bits_after_scaling_is_the_largest_one() -> None:
    schema = FeatureSchema.model_validate({"features": [{"name": "n", "side": "item", "kind": "number"}]})
    encoder = Encoder(schema, {}, {"n": Scale(-1e308, 1e-300)})
    assert encoder.encode("n", [1.7e308]).tolist() == [FLOAT32_MAX]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("item_id", ["i1", 1.0], "value 1: expected an id (text or a whole number), got a number"),
        ("item_id", [True], "value 0: expected an id (text or a whole number), got a boolean"),
        ("device", ["a", "b", ["c"]], "value 2: expected an id (text or a whole number), got a list"),
        ("genres", [{"war": 1}], "value 0: expected a list of ids, got an object"),
        ("genres", [["war"], [["drama"]]], "value 1: expected an id (text or a whole number), got a list"),
        ("history", [5], "value 0: expected a list of ids, got a number"),
        ("year", [1990, "1990"], "value 1: expected a number, got text"),
        ("year", [True], "value 0: expected a number, got a boolean"),
        ("year", [math.nan], "value 0: expected a finite number"),
        ("year", [0, -math.inf], "value 1: expected a finite number"),
        ("year", [10**400], "value 0: expected a finite number"),
        ("views", [None, -0.5], "value 1: expected a number of at least 0 (the feature is log-scaled)"),
        ("image", [[1.0, 2.0], [1.0]], "value 1: expected a list of 2 numbers"),
        ("image", [[1.0, 2.0, 3.0]], "value 0: expected a list of 2 numbers"),
        ("image", ["ab"], "value 0: expected a list of 2 numbers"),
        ("image", [{"a": 1, "b": 2}], "value 0: expected a list of 2 numbers"),
        ("image", [[1.0, None]], "value 0: expected finite numbers of 32 bits"),
        ("image", [[1.0, 1e39]], "value 0: expected finite numbers of 32 bits"),
        ("image", [[1.0, math.inf]], "value 0: expected a finite number"),
        ("image", [[1.0, "2"]], "value 0: expected a number, got text"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_feature_and_position(
    name: str, values: list[Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ENCODER.encode(name, values)
    assert caught.value.message == f"feature {name!r}, {words}"
    position = int(words.removeprefix("value ").partition(":")[0])
    assert caught.value.details == {"feature": name, "position": position}


def test_a_missing_feature_encodes_as_a_missing_value() -> None:
    for feature in ENCODER.schema.features:
        missing, encoded_none = ENCODER.missing(feature.name, 2), ENCODER.encode(feature.name, [None, None])
        assert missing.dtype == encoded_none.dtype
        assert missing.tolist() == encoded_none.tolist()
        assert not missing.any()


def test_cardinality_counts_index_0() -> None:
    found = {name: ENCODER.cardinality(name) for name in ("user_id", "item_id", "history", "device", "tags")}
    assert found == {"user_id": 3, "item_id": 6, "history": 6, "device": 11, "tags": 6}
    with pytest.raises(InvalidInput, match="'year' is a number, which has no indices"):
        ENCODER.cardinality("year")


def test_what_is_known() -> None:
    assert ENCODER.knows("item_id", "i1")
    assert ENCODER.knows("history", "i1")
    assert ENCODER.knows("device", "anything")
    assert not ENCODER.knows("item_id", "i6")
    assert not ENCODER.knows("device", "")


@pytest.mark.parametrize(
    ("vocabularies", "scales", "words"),
    [
        ({}, ENCODER.scales, "feature 'user_id' has no vocabulary"),
        (ENCODER.vocabularies, {}, "feature 'year' has no fitted scale"),
        (
            ENCODER.vocabularies,
            {**ENCODER.scales, "views": Scale(0.0, 0.0)},
            "'views' has a scale .* not above 0",
        ),
        (ENCODER.vocabularies, {**ENCODER.scales, "views": Scale(0.0, math.nan)}, "'views' has a scale"),
    ],
)
def test_an_encoder_that_lacks_a_part_is_refused(vocabularies: Any, scales: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Encoder(a_schema(), vocabularies, scales)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        ENCODER.to_json()[:-1],
        ENCODER.to_json().replace(b"i1", b"\xff"),
        ENCODER.to_json().replace(b'"user_id":["u1","u2"]', b'"x":[]'),
        ENCODER.to_json().replace(b'"kind":"number"', b'"kind":"numeral"'),
        ENCODER.to_json().replace(b'"deviation":10.0', b'"deviation":-10.0'),
        ENCODER.to_json().replace(b'"u1"', b"1"),
    ],
)
def test_what_is_not_an_encoder_is_refused(data: bytes) -> None:
    assert data != ENCODER.to_json()
    with pytest.raises(ArtifactCorrupt, match="this is not an encoder: "):
        Encoder.from_json(data)


def test_the_fingerprint_is_that_of_what_was_fitted() -> None:
    assert an_encoder().sha256 == ENCODER.sha256
    reordered = Encoder(a_schema(), dict(reversed(ENCODER.vocabularies.items())), ENCODER.scales)
    assert reordered.sha256 == ENCODER.sha256
    other_order = {**ENCODER.vocabularies, "user_id": ["u2", "u1"]}
    other_scale = {**ENCODER.scales, "year": Scale(1990.0, 10.5)}
    prints = {
        ENCODER.sha256,
        Encoder(a_schema(), other_order, ENCODER.scales).sha256,
        Encoder(a_schema(), ENCODER.vocabularies, other_scale).sha256,
    }
    assert len(prints) == 3
