"""CSV and Parquet files with named columns."""

from pathlib import Path

import polars as pl
import pytest
from app.errors import DataUnavailable

from tests.training.lessons import ITEM, USER, read

FEATURES = [
    *(USER, ITEM),
    {"name": "age", "side": "user", "kind": "number"},
    {"name": "price", "side": "item", "kind": "number"},
    {"name": "tags", "side": "item", "kind": "multi", "max_length": 2, "separator": "|"},
]
TABLES = {
    "interactions": pl.DataFrame(
        {"user_id": [1, 2, 2], "item_id": ["a", "a", "b"], "label": [1, 0, 1], "timestamp": [5, 6, 7]}
    ),
    "users": pl.DataFrame({"user_id": [1, 2], "age": [30, None]}),
    "items": pl.DataFrame({"item_id": ["a", "b"], "price": [0.5, 2.0], "tags": ["x|y", None]}),
}


def csv(folder: Path, content: str | bytes, name: str = "rows.csv") -> dict[str, str]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return {"interactions": name}


def test_both_forms_give_the_same(tmp_path: Path) -> None:
    for name, frame in TABLES.items():
        frame.write_csv(tmp_path / f"{name}.csv")
        frame.write_parquet(tmp_path / f"{name}.parquet")
    one, other = (
        read(tmp_path, "table", {name: name + end for name in TABLES}, features=FEATURES)
        for end in (".csv", ".parquet")
    )
    assert one.sha256 == other.sha256
    assert one.interactions.select("user_id", "item_id", "label", "timestamp").rows() == [
        ("1", "a", 1.0, 5),
        ("2", "a", 0.0, 6),
        ("2", "b", 1.0, 7),
    ]
    assert one.users.rows() == [("1", 30), ("2", None)]
    assert one.items.rows() == [("a", 0.5, "x|y"), ("b", 2.0, None)]


def test_a_file_outside_the_models_folder(tmp_path: Path) -> None:
    config = csv(tmp_path, "user_id,item_id,label\nu,a,1\n")
    (tmp_path / "model").mkdir()
    assert (
        read(tmp_path / "model", "table", {"interactions": f"../{config['interactions']}"}).items.height == 1
    )
    absolute = str(tmp_path / config["interactions"])
    assert read(tmp_path / "model", "table", {"interactions": absolute}).items.height == 1


def test_ids_with_leading_zeros_stay_as_they_are(tmp_path: Path) -> None:
    dataset = read(tmp_path, "table", csv(tmp_path, "user_id,item_id,label\n007,10,1\n7,0,0\n-05,1,1\n"))
    assert dataset.interactions["user_id"].to_list() == ["007", "7", "-05"]
    assert dataset.interactions["item_id"].to_list() == ["10", "0", "1"]


def test_a_column_is_judged_by_all_of_its_rows(tmp_path: Path) -> None:
    lines = [f"{row},{row},1" for row in range(500)]
    dataset = read(
        tmp_path, "table", csv(tmp_path, "\n".join(["user_id,item_id,label", *lines, "u,i,0.5\n"]))
    )
    assert dataset.interactions["user_id"].to_list()[-2:] == ["499", "u"]
    assert dataset.interactions["label"].to_list()[-2:] == [1.0, 0.5]


@pytest.mark.parametrize("content", ["", b"user_id,item_id,label\n\xff\xfe,a,1\n", "a,b\n1,2\n3,4,5\n"])
def test_a_damaged_csv_file_is_named(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(DataUnavailable, match=r"the data file rows.csv is damaged: \w+"):
        read(tmp_path, "table", csv(tmp_path, content))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    TABLES["interactions"].write_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for content in (b"", b"no parquet", whole[:-20]):
        with pytest.raises(DataUnavailable, match=r"the data file rows.parquet is damaged: \w+"):
            read(tmp_path, "table", csv(tmp_path, content, "rows.parquet"))


def test_an_absent_file_and_another_kind_of_file(tmp_path: Path) -> None:
    rows = csv(tmp_path, "user_id,item_id,label\nu,a,1\n")
    for config in ({"interactions": "nothing.csv"}, rows | {"items": "nothing.parquet"}):
        with pytest.raises(DataUnavailable, match=r"the data file nothing.\w+ does not exist"):
            read(tmp_path, "table", config)
    with pytest.raises(DataUnavailable, match=r"rows.json must end in .csv or .parquet"):
        read(tmp_path, "table", csv(tmp_path, "[]", "rows.json"))
