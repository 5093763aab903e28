"""A feature schema takes what a model can eat, and names what is wrong with anything else."""

from typing import Any

import pytest
from app.schema import (
    FEATURE_NAME,
    ROW_REQUEST,
    SCORE,
    FeatureSchema,
    NumberFeature,
    Side,
    is_id,
    trailing_shape,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.samples import FEATURES, a_schema

ITEM = {"name": "item_id", "side": "item", "kind": "categorical"}
LONGEST = "a" * 64


def schema_of(*features: dict[str, Any], **rest: Any) -> FeatureSchema:
    return FeatureSchema.model_validate({"features": features, **rest})


def test_features_keep_their_order_and_are_found_by_name() -> None:
    schema = a_schema()
    assert [feature.name for feature in schema.features] == [one["name"] for one in FEATURES]
    assert schema["year"] is schema.features[6]
    with pytest.raises(KeyError, match="nope"):
        schema["nope"]


def test_sides_say_how_often_a_feature_occurs() -> None:
    schema = a_schema()
    assert [f.name for f in schema.of_side(Side.USER)] == ["user_id", "history"]
    assert [f.name for f in schema.request_features] == ["user_id", "history", "device"]
    assert {f.name for f in schema.features if f.per_candidate} == {f.name for f in schema.item_features}
    assert len(schema.request_features) + len(schema.item_features) == len(schema.features)


def test_tables_belong_to_ids_and_a_history_has_none_of_its_own() -> None:
    assert [f.name for f in a_schema().tables] == ["user_id", "device", "item_id", "genres", "tags"]


def test_the_shape_and_type_of_one_encoded_value() -> None:
    found = {feature.name: (trailing_shape(feature), is_id(feature)) for feature in a_schema().features}
    assert found == {
        "user_id": ((), True),
        "history": ((3,), True),
        "device": ((), True),
        "item_id": ((), True),
        "genres": ((2,), True),
        "tags": ((3,), True),
        "year": ((), False),
        "views": ((), False),
        "ratio": ((), False),
        "image": ((2,), False),
    }


def test_a_schema_comes_back_from_json_as_it_was() -> None:
    schema = a_schema()
    assert FeatureSchema.model_validate(schema.model_dump(mode="json")) == schema
    assert FeatureSchema.model_validate_json(schema.model_dump_json()) == schema


def test_a_schema_cannot_be_changed() -> None:
    schema = a_schema()
    with pytest.raises(ValidationError, match="frozen"):
        schema.item_key = "other"
    with pytest.raises(ValidationError, match="frozen"):
        schema.features[0].name = "other"


def test_the_keys_of_user_and_item_may_have_other_names() -> None:
    schema = schema_of({**ITEM, "name": "sku"}, user_key="customer", item_key="sku")
    assert (schema.user_key, schema.item_key) == ("customer", "sku")


NAMES = TypeAdapter(NumberFeature)


@pytest.mark.parametrize("name", ["", "A", "a-b", "1a", "_a", "a b", "a.b", "ä", LONGEST + "a", "a\n", "a/b"])
def test_a_feature_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        NAMES.validate_python({"name": name, "side": "item"})


@given(st.from_regex(FEATURE_NAME.strip("^$"), fullmatch=True).filter(str.isascii) | st.just(LONGEST))
def test_every_plain_word_is_a_feature_name(name: str) -> None:
    assert NAMES.validate_python({"name": name, "side": "item"}).name == name


def history(**changes: Any) -> dict[str, Any]:
    base = {"name": "h", "side": "user", "kind": "history", "of": "item_id", "max_length": 5}
    return base | changes


def multi(**changes: Any) -> dict[str, Any]:
    return {"name": "m", "side": "item", "kind": "multi", "max_length": 5} | changes


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ((), "features"),
        ((ITEM, ITEM), "must be unique; repeated: item_id"),
        (({"name": "u", "side": "user", "kind": "categorical"},), "at least one feature of side 'item'"),
        (({**ITEM, "name": ROW_REQUEST},), "reserved for the graph: row_request"),
        (({**ITEM, "name": SCORE},), "reserved for the graph: score"),
        (({**ITEM, "side": "user"}, multi()), "'item_id' is a key"),
        (({"name": "item_id", "side": "item", "kind": "number"},), "'item_id' is a key"),
        ((ITEM, {**ITEM, "name": "user_id"}), "'user_id' is a key: .* of side 'user'"),
        ((ITEM, history(side="context")), "history 'h' must be of side 'user'"),
        ((ITEM, history(of="nope")), "`of` must name a categorical feature of side 'item', not 'nope'"),
        ((ITEM, multi(), history(of="m")), "not 'm'"),
        ((ITEM, {**ITEM, "name": "u", "side": "user"}, history(of="u")), "not 'u'"),
        (({**ITEM, "encoding": "hash"},), "`buckets` goes with encoding = 'hash'"),
        (({**ITEM, "buckets": 8},), "`buckets` goes with encoding = 'hash'"),
        (({**ITEM, "encoding": "hash", "buckets": 1},), "buckets"),
        (({**ITEM, "encoding": "hash", "buckets": 2**31 + 1},), "buckets"),
        (({**ITEM, "min_count": 0},), "min_count"),
        ((multi(max_length=0),), "max_length"),
        ((multi(max_length=4097),), "max_length"),
        ((multi(separator=""),), "separator"),
        (({"name": "v", "side": "item", "kind": "vector", "dimension": 0},), "dimension"),
        (({"name": "v", "side": "item", "kind": "vector", "dimension": 8193},), "dimension"),
        (({"name": "n", "side": "item", "kind": "number", "transform": "sqrt"},), "transform"),
        (({**ITEM, "side": "shop"},), "side"),
        (({**ITEM, "kind": "image"},), "kind"),
        (({"name": "item_id", "side": "item"},), "kind"),
        (({**ITEM, "colour": "red"},), "colour"),
    ],
    ids=lambda value: value.replace("`", "") if isinstance(value, str) else "",
)
def test_a_schema_that_no_model_can_eat_is_refused_by_name(
    features: tuple[dict[str, Any], ...], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        schema_of(*features)


def test_an_unknown_field_of_the_schema_is_refused() -> None:
    with pytest.raises(ValidationError, match="label"):
        schema_of(ITEM, label="clicked")


def test_a_history_may_be_of_hashed_items() -> None:
    hashed = {**ITEM, "encoding": "hash", "buckets": 8}
    assert schema_of(hashed, history())["h"].of == "item_id"
