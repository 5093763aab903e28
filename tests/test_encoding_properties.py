"""What holds for every encoder and every value."""

import math
from typing import Any

import numpy as np
from app.encoding import FLOAT32_MAX, Array, Encoder
from app.errors import InvalidInput
from app.schema import HistoryFeature, MultiFeature, is_id, trailing_shape
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import an_encoder
from tests.strategies import JSON_VALUES, encoders

SAMPLE = an_encoder()
LISTS = st.lists(st.sampled_from(["i1", "i2", "i3", "i4", "i5", "new", ""]), max_size=8)


@given(encoder=encoders())
def test_an_encoder_comes_back_from_json_as_it_was(encoder: Encoder) -> None:
    again = Encoder.from_json(encoder.to_json())
    assert (again.schema, again.vocabularies, again.scales) == (
        encoder.schema,
        encoder.vocabularies,
        encoder.scales,
    )
    assert again.to_json() == encoder.to_json()


def encode_or_refuse(encoder: Encoder, name: str, values: list[Any]) -> tuple[Array, InvalidInput | None]:
    try:
        return encoder.encode(name, values), None
    except InvalidInput as error:
        return encoder.missing(name, 0), error


@given(encoder=encoders(), values=st.lists(JSON_VALUES, max_size=3))
def test_any_json_is_either_encoded_within_bounds_or_named(encoder: Encoder, values: list[Any]) -> None:
    for feature in encoder.schema.features:
        array, refused = encode_or_refuse(encoder, feature.name, values)
        if refused is not None:
            assert refused.details["feature"] == feature.name
            assert values[refused.details["position"]] is not None
            continue
        assert array.shape == (len(values), *trailing_shape(feature))
        if is_id(feature):
            assert array.dtype == np.int64
            assert ((array >= 0) & (array < encoder.cardinality(feature.name))).all()
        else:
            assert array.dtype == np.float32
            assert np.isfinite(array).all()


@given(encoder=encoders(), raw=st.text(max_size=8))
def test_unknown_ids_are_0_and_hashed_ids_have_buckets(encoder: Encoder, raw: str) -> None:
    for feature in encoder.schema.tables:
        index = encoder.index(feature.name, raw)
        assert encoder.knows(feature.name, raw) is (index != 0)
        if feature.buckets is not None:
            assert (1 <= index <= feature.buckets) if raw else index == 0
        else:
            ids = encoder.vocabularies[feature.name]
            assert index == (ids.index(raw) + 1 if raw in ids else 0)


@given(encoder=encoders())
def test_known_ids_have_different_indices(encoder: Encoder) -> None:
    for name, ids in encoder.vocabularies.items():
        indices = encoder.encode(name, [[one] for one in ids] if _is_multi(encoder, name) else ids)
        firsts = indices[:, 0] if _is_multi(encoder, name) else indices
        assert firsts.tolist() == list(range(1, encoder.cardinality(name)))


def _is_multi(encoder: Encoder, name: str) -> bool:
    return isinstance(encoder.schema[name], MultiFeature)


@given(values=LISTS)
def test_a_history_is_the_end_of_its_known_items_padded_on_the_right(values: list[str]) -> None:
    feature = SAMPLE.schema["history"]
    assert isinstance(feature, HistoryFeature)
    known = [int(one[1:]) for one in values if one.startswith("i")][-feature.max_length :]
    (row,) = SAMPLE.encode("history", [values]).tolist()
    assert row == known + [0] * (feature.max_length - len(known))


@given(values=st.lists(st.sampled_from(["drama", "war", "comedy", ""]), max_size=6))
def test_a_text_of_ids_is_the_same_as_their_list(values: list[str]) -> None:
    (from_list,) = SAMPLE.encode("genres", [values]).tolist()
    (from_text,) = SAMPLE.encode("genres", ["|".join(values)]).tolist()
    known = [1 if one == "drama" else 2 for one in values if one in {"drama", "war"}][:2]
    assert from_list == from_text == known + [0] * (2 - len(known))


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_standardized_and_bounded(number: float) -> None:
    exact = (number - 1990.0) / 10.0
    (value,) = SAMPLE.encode("year", [number]).tolist()
    assert math.isclose(value, min(max(exact, -FLOAT32_MAX), FLOAT32_MAX), rel_tol=1e-6, abs_tol=1e-40)


@given(numbers=st.lists(st.none() | st.floats(0, 1e9), max_size=5))
def test_values_do_not_depend_on_their_neighbours(numbers: list[float | None]) -> None:
    together = SAMPLE.encode("views", numbers).tolist()
    assert together == [SAMPLE.encode("views", [number]).tolist()[0] for number in numbers]
