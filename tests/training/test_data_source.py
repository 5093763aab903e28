"""What every data source has in common, and what is checked of whatever it reads."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from app.errors import ConfigurationError, DataUnavailable
from app.training.data import sources as folder_of_sources
from app.training.data.dataset import Dataset
from app.training.data.source import sources

from tests.training.lessons import ITEM, USER, read

AGE = {"name": "age", "side": "user", "kind": "number"}
DEVICE = {"name": "device", "side": "context", "kind": "categorical"}
GOOD: dict[str, Any] = {"user_id": ["u1", "u2", "u2"], "item_id": ["a", "a", "b"], "label": [1, 0, 1]}


def tables(folder: Path, interactions: dict[str, Any], **rest: Any) -> Dataset:
    """What is read of these tables; Parquet keeps their types."""
    config = {}
    sides = {"interactions": interactions, "users": rest.pop("users", None), "items": rest.pop("items", None)}
    for name, columns in sides.items():
        if columns is not None:
            pl.DataFrame(columns, strict=False).write_parquet(folder / f"{name}.parquet")
            config[name] = f"{name}.parquet"
    return read(folder, "table", config, **rest)


def test_every_file_of_the_folder_is_a_source() -> None:
    files = {path.stem for path in Path(folder_of_sources.__path__[0]).glob("[a-z]*.py")}
    assert set(sources()) == files
    assert all(source.summary.endswith(".") for source in sources().values())


@pytest.mark.parametrize("name", sorted(sources()))
def test_an_unknown_setting_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[data.config\] \({name}\): .*no_such_setting: Extra"):
        read(tmp_path, name, {"no_such_setting": 1})


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_setting_without_a_default_is_asked_for(name: str, tmp_path: Path) -> None:
    required = [key for key, one in sources()[name].config.model_fields.items() if one.is_required()]
    for key in required:
        with pytest.raises(ConfigurationError, match=rf"{key}: Field required"):
            read(tmp_path, name, {other: "x" for other in required if other != key})
    assert required or sources()[name].config()


def test_an_unknown_source_is_an_error_that_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no source 'nowhere'; there are: .*synthetic, table"):
        read(tmp_path, "nowhere", {})


def test_ids_become_text_and_users_and_items_that_only_interactions_name_are_added(tmp_path: Path) -> None:
    rows = {"user_id": [10, 9, 9], "item_id": [1, 2, 1], "label": [1.0, 0.25, 0.0], "note": ["x", "y", "z"]}
    dataset = tables(tmp_path, rows, users={"user_id": [9, 7, 7], "age": [30, 40, 50]}, features=[ITEM, AGE])
    assert dataset.interactions["user_id"].to_list() == ["10", "9", "9"]
    assert dataset.interactions["label"].to_list() == [1.0, 0.25, 0.0]
    assert dataset.interactions["note"].to_list() == ["x", "y", "z"], "other columns stay"
    assert dataset.users.rows() == [("7", 40), ("9", 30), ("10", None)], (
        "shortest first, the first of each id"
    )
    assert dataset.items["item_id"].to_list() == ["1", "2"]


def test_equal_data_have_equal_fingerprints(tmp_path: Path) -> None:
    first = tables(tmp_path, GOOD)
    assert tables(tmp_path, GOOD).sha256 == first.sha256
    assert tables(tmp_path, GOOD | {"label": [1, 0, 0]}).sha256 != first.sha256
    assert tables(tmp_path, GOOD, items={"item_id": ["c"]}).sha256 != first.sha256


@pytest.mark.parametrize(
    ("values", "at_least", "labels"),
    [
        ([1, 4, 5], 4, [0, 1, 1]),
        ([0.5, 0.7, 0.9], 0.7, [0, 1, 1]),
        ([True, False, True], None, [1, 0, 1]),
        ([True, False, True], 1, [1, 0, 1]),
        ([-3, 0, 9], -3, [1, 1, 1]),
    ],
)
def test_the_label_rule(tmp_path: Path, values: list[Any], at_least: float | None, labels: list[int]) -> None:
    label = {"column": "rating", "at_least": at_least}
    rows = {"user_id": ["u"] * 3, "item_id": ["a"] * 3, "rating": values}
    dataset = tables(tmp_path, rows, label=label)
    assert dataset.interactions["label"].to_list() == labels
    assert dataset.interactions["label"].dtype == pl.Float32
    assert dataset.interactions["rating"].to_list() == values, "the raw value stays"


def test_a_label_of_32_bits_counts_from_the_value_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rating = pl.Series([0.6, 0.7], dtype=pl.Float32)
    pl.DataFrame({"user_id": ["u"] * 2, "item_id": ["a"] * 2, "rating": rating}).write_parquet(path)
    dataset = read(
        tmp_path, "table", {"interactions": path.name}, label={"column": "rating", "at_least": 0.7}
    )
    assert dataset.interactions["label"].to_list() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"label": [1, None, 0]}, "1 interactions of 'table' have no label"),
        ({"label": [1.0, float("nan"), float("nan")]}, "2 interactions of 'table' have no label"),
        ({"label": ["1", "0", "1"]}, "the column 'label' of 'table' does not hold numbers"),
        ({"user_id": ["u", None, "u"]}, "1 interactions of 'table' have no user_id"),
        ({"item_id": [None, None, 3]}, "2 interactions of 'table' have no item_id"),
        ({"timestamp": [1, None, 3]}, "1 interactions of 'table' have no timestamp"),
        ({"timestamp": [1.0, float("inf"), 3.0]}, "1 interactions of 'table' have no timestamp"),
        ({"timestamp": ["2020", "2021", "x"]}, "the column 'timestamp' of 'table' does not hold numbers"),
        ({"user_id": [], "item_id": [], "label": []}, "data source 'table' has no interactions"),
    ],
)
def test_data_that_are_not_what_they_should_be(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(DataUnavailable, match=why):
        tables(tmp_path, GOOD | changes)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_rating_is_neither_good_nor_bad(tmp_path: Path, missing: float | None) -> None:
    with pytest.raises(DataUnavailable, match="1 interactions of 'table' have no label"):
        tables(tmp_path, GOOD | {"label": [5.0, missing, 1.0]}, label={"at_least": 4})


def test_users_and_items_need_ids_too(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match="1 users of the data source have no user_id"):
        tables(tmp_path, GOOD, users={"user_id": ["u1", None], "age": [1, 2]})
    with pytest.raises(DataUnavailable, match="2 items of the data source have no item_id"):
        tables(tmp_path, GOOD, items={"item_id": [None, "a", None]})


@pytest.mark.parametrize(("values", "reach"), [([0, 1, 5], "0 to 5"), ([-1, 0, 1], "-1 to 1")])
def test_labels_out_of_range_are_an_error_that_names_the_remedy(
    tmp_path: Path, values: list[int], reach: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"'label' reaches from {reach}; set `at_least`"):
        tables(tmp_path, GOOD | {"label": values})


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (
            {"label": {"column": "stars"}},
            "the interactions of table have no column 'stars'; they have: user_id",
        ),
        ({"features": [ITEM, DEVICE]}, "the interactions of table have no column 'device'"),
        ({"features": [ITEM, USER, AGE]}, "the users of the data source have no column 'age'"),
        ({"items": {"sku": ["a"]}}, "the items of the data source have no column 'item_id'; they have: sku"),
        ({"display": ["title"]}, "display: the items have no column 'title'; they have: item_id"),
    ],
)
def test_a_column_that_is_needed_and_absent(tmp_path: Path, rest: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        tables(tmp_path, GOOD, **rest)
