"""Joined and encoded rows, against the raw values encoded one by one."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from app.errors import InvalidInput
from app.schema import HistoryFeature, Side
from app.training.fit_encoder import fit_encoder
from app.training.rows import Prepared, prepare
from app.training.split import Split

from tests.training.lessons import ITEM, USER, clicks, dataset_of, schema_of

HISTORY = {"name": "history", "side": "user", "kind": "history", "of": "item_id", "max_length": 2}
PARTS = ("train", "validation", "test")


def prepared(features: list[dict[str, Any]], train: list[int], **columns: Any) -> Prepared:
    dataset = dataset_of(columns | {"label": [1.0] * len(columns["user_id"])})
    schema = schema_of(*features)
    rest = np.setdiff1d(np.arange(dataset.interactions.height), train)
    split = Split(np.array(train), rest[:1], rest[1:])
    return prepare(dataset, fit_encoder(schema, dataset, split.train), split)


@pytest.mark.parametrize("part", PARTS)
def test_joined_features_are_those_of_each_row(part: str) -> None:
    data = clicks()
    rows, numbers = getattr(data, part), getattr(data.split, part)
    raw = data.dataset.interactions[numbers]
    raw = raw.join(data.dataset.users, on="user_id", how="left", maintain_order="left")
    raw = raw.join(data.dataset.items, on="item_id", how="left", maintain_order="left")
    chosen = np.array([len(rows) - 1, 0, 7, 7, 3])
    inputs = rows.inputs(chosen)
    assert set(inputs) == {feature.name for feature in data.encoder.schema.features}
    for feature in data.encoder.schema.features:
        if isinstance(feature, HistoryFeature):
            continue
        values = inputs[feature.name]
        for place, row in enumerate(chosen):
            alone = data.encoder.encode(feature.name, [raw[feature.name].to_list()[row]])
            assert values.dtype == alone.dtype
            np.testing.assert_array_equal(values[place], alone[0])
    assert rows.labels.tolist() == raw["label"].to_list()
    assert len(rows) == len(numbers)


def slow_history(data: Prepared, row: int, length: int) -> list[int]:
    """The indices of the user's last training items before that row."""
    of_user = data.dataset.interactions.with_row_index("row").filter(pl.col("row").is_in(data.split.train))
    here = data.dataset.interactions.row(row, named=True)
    met = of_user.filter((pl.col("user_id") == here["user_id"]) & (pl.col("timestamp") < here["timestamp"]))
    ids = data.encoder.encode("item_id", met.sort("timestamp")["item_id"].to_list())
    kept = ids[ids > 0][-length:].tolist()
    return kept + [0] * (length - len(kept))


@pytest.mark.parametrize("part", PARTS)
def test_a_history_is_what_came_before_in_training(part: str) -> None:
    data = clicks()
    rows, numbers = getattr(data, part), getattr(data.split, part)
    for place in range(0, len(rows), len(rows) // 25):
        expected = slow_history(data, int(numbers[place]), 5)
        assert rows.per_row["history"][place].tolist() == expected


def test_no_history_holds_the_rows_own_item_or_anything_later() -> None:
    """Every item is met once, so an item that leaks is seen."""
    data = prepared(
        [ITEM, HISTORY],
        [0, 1, 2, 5],
        user_id=["u", "u", "v", "u", "u", "u"],
        item_id=["i1", "i2", "i3", "i4", "i5", "i6"],
        timestamp=[40, 20, 10, 30, 60, 50],
    )
    ids = dict(enumerate(data.encoder.vocabularies["item_id"], start=1))
    named = {
        part: [[ids[index] for index in row if index] for row in getattr(data, part).per_row["history"]]
        for part in PARTS
    }
    assert named == {"train": [["i2"], [], [], ["i2", "i1"]], "validation": [["i2"]], "test": [["i1", "i6"]]}
    latest = [[ids[index] for index in row if index] for row in data.latest_history["history"]]
    assert dict(zip(data.user_ids, latest, strict=True)) == {"u": ["i1", "i6"], "v": ["i3"]}


def test_an_id_that_is_missing_or_unknown_in_some_rows_is_none_there() -> None:
    device = {"name": "device", "side": "context", "kind": "categorical"}
    raw = [None, "a", None, "b", "a", "c"]
    data = prepared([ITEM, device], [0, 1, 3, 4], user_id=["u"] * 6, item_id=["i"] * 6, device=raw)
    of_rows = np.zeros(6, dtype=np.int64)
    for part in PARTS:
        of_rows[getattr(data.split, part)] = getattr(data, part).per_row["device"]
    a, b = (data.encoder.index("device", one) for one in "ab")
    assert of_rows.tolist() == [0, a, 0, b, a, 0]


def test_without_times_the_order_of_the_rows_counts() -> None:
    data = prepared([ITEM, HISTORY], [0, 1], user_id=["u"] * 4, item_id=["a", "b", "c", "d"])
    a, b = (data.encoder.index("item_id", raw) for raw in "ab")
    assert data.train.per_row["history"].tolist() == [[0, 0], [a, 0]]
    assert data.test.per_row["history"].tolist() == [[a, b]]


def test_some_rows_alone() -> None:
    rows = clicks().train
    chosen = np.array([5, 2, 2])
    taken = rows.take(chosen)
    assert len(taken) == 3
    assert taken.labels.tolist() == rows.labels[chosen].tolist()
    for name, values in taken.inputs(np.arange(3)).items():
        np.testing.assert_array_equal(values, rows.inputs(chosen)[name])


def test_users_and_items_are_encoded_once_and_histories_by_row() -> None:
    data = clicks()
    schema = data.encoder.schema
    assert set(data.train.users) == {f.name for f in schema.of_side(Side.USER)} - {"history"}
    assert set(data.train.items) == {f.name for f in schema.item_features}
    assert set(data.train.per_row) == {"device", "history"}
    assert len(data.train.users["user_id"]) == len(data.user_ids)
    assert len(data.train.items["item_id"]) == len(data.item_ids)


def test_a_raw_value_that_does_not_fit_is_named() -> None:
    price = {"name": "price", "side": "context", "kind": "number", "transform": "none"}
    with pytest.raises(InvalidInput, match="feature 'price', value 1: expected a finite number"):
        prepared(
            [USER, ITEM, price], [0], user_id=["u"] * 3, item_id=["a"] * 3, price=[1.0, float("nan"), 2.0]
        )
