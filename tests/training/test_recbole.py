"""RecBole atomic files."""

from pathlib import Path
from typing import Any

import pytest
from app.errors import DataUnavailable
from app.training.data.dataset import Dataset

from tests.training.lessons import ITEM, USER, read

INTERACTIONS = (
    "user:token\tmovie:token\trating:float\ttimestamp:float\n7\t05\t3.5\t881250949.0\n8\t12\t5\t881250950\n"
)
USERS = "user:token\tage:float\tnames:token_seq\n7\t31\tann lee\n8\t\t\n"
ITEMS = "movie:token\tvector:float_seq\n05\t0.5 1\n12\t-1e3 2\n"
RENAME = {"user": "user_id", "movie": "item_id"}
FEATURES = [
    *(USER, ITEM),
    {"name": "age", "side": "user", "kind": "number"},
    {"name": "names", "side": "user", "kind": "multi", "max_length": 2},
    {"name": "vector", "side": "item", "kind": "vector", "dimension": 2},
]


def recbole(folder: Path, files: dict[str, str], **rest: Any) -> Dataset:
    for kind, content in files.items():
        (folder / f"films.{kind}").write_text(content)
    config = {"folder": ".", "name": "films", "rename": RENAME}
    rest = {"label": {"column": "rating", "at_least": 4}} | rest
    return read(folder, "recbole", config, **rest)


def test_every_type_of_column(tmp_path: Path) -> None:
    files = {"inter": INTERACTIONS, "user": USERS, "item": ITEMS}
    dataset = recbole(tmp_path, files, features=FEATURES)
    assert dataset.interactions.select("user_id", "item_id", "rating", "timestamp", "label").rows() == [
        ("7", "05", 3.5, 881250949, 0.0),
        ("8", "12", 5.0, 881250950, 1.0),
    ]
    assert dataset.users.rows() == [("7", 31.0, ["ann", "lee"]), ("8", None, None)]
    assert dataset.items.rows() == [("05", [0.5, 1.0]), ("12", [-1000.0, 2.0])]


def test_users_and_items_are_optional(tmp_path: Path) -> None:
    dataset = recbole(tmp_path, {"inter": INTERACTIONS})
    assert dataset.users.rows() == [("7",), ("8",)]
    assert dataset.items.rows() == [("05",), ("12",)]


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        ("inter", "", r"films.inter is empty"),
        ("inter", "user:token\tmovie:token\trating\n7\t1\t3\n", "films.inter: column 'rating' has no type"),
        (
            "inter",
            "user:token\tmovie:token\trating:int\n7\t1\t3\n",
            "column 'rating:int' has no type that RecBole",
        ),
        ("inter", "user:token\tmovie:token\trating:float\n7\t1\tgood\n", "'rating': 'good' is not a number"),
        ("inter", "user:token\tmovie:token\trating:float\n7\t1\tnan\n", "'rating': 'nan' is not a number"),
        (
            "inter",
            "user:token\tmovie:token\trating:float\n7\t1\n",
            "films.inter is damaged: line 2 has 2 fields",
        ),
        ("inter", INTERACTIONS.replace("881250950", "soon"), "'timestamp': 'soon' is not a number"),
        (
            "inter",
            INTERACTIONS.replace("timestamp:float", "timestamp:token"),
            "'881250949.0' is not a number",
        ),
        ("item", ITEMS.replace("0.5", "half"), "films.item, column 'vector': not every list holds numbers"),
        ("item", "movie:token\titem_id:token\n1\t2\n", "films.item: two columns are called 'item_id'"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path: Path, kind: str, content: str, why: str) -> None:
    with pytest.raises(DataUnavailable, match=why):
        recbole(tmp_path, {"inter": INTERACTIONS, kind: content})


def test_without_interactions_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"films.inter does not exist"):
        recbole(tmp_path, {"user": USERS})
