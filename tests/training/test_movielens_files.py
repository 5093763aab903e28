"""MovieLens as GroupLens gives it out, in small: the layouts, encodings and oddities of the real files."""

from pathlib import Path
from typing import Any

import pytest
from app.errors import DataUnavailable
from app.training.data.dataset import Dataset
from app.training.data.sources.movielens_files import GENRES_100K

from tests.training.lessons import ITEM, USER, read

YEAR = {"name": "release_year", "side": "item", "kind": "categorical"}
GENRES = {"name": "genres", "side": "item", "kind": "multi", "max_length": 3}
AGE = {"name": "age", "side": "user", "kind": "categorical"}
WHO = [AGE | {"name": name} for name in ("age", "gender", "occupation", "zip_code")]


def item_100k(start: str, *genres: str) -> str:
    return "|".join([start, *("1" if one in genres else "0" for one in GENRES_100K)])


def latest(**changes: str) -> dict[str, str]:
    """The files of the layout `latest`, with CSV quotes and a film without year or genre."""
    return {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,2,0.5,964982703\n610,1,4.0,964981247\n",
        "movies.csv": "movieId,title,genres\n"
        '2,"American President, The (1995)",Comedy|Drama\n'
        '1,"""Great Performances"" Cats",(no genres listed)\n',
    } | changes


LAYOUTS: dict[str, dict[str, str]] = {
    "100k": {
        "u.data": "1\t2\t3\t881250949\n610\t1\t4\t891717742\n",
        "u.item": item_100k(
            "1|Misérables, Les (1995)|01-Jan-1995||http://example.org/M%E9", "Drama", "Musical"
        )
        + "\n"
        + item_100k("2|unknown|||", "unknown")
        + "\n",
        "u.user": "1|24|M|technician|05146\n610|53|F|other|V0R2M\n",
    },
    "1m": {
        "ratings.dat": "1::2::3::978300760\n610::1::4::978302109\n",
        "movies.dat": "1::Misérables, Les (1995)::Drama|Musical\n2::unknown::unknown\n",
        "users.dat": "1::M::24::technician::05146\n610::F::53::other::V0R2M\n",
    },
}


def movielens(folder: Path, files: dict[str, str], encoding: str = "latin-1", **rest: Any) -> Dataset:
    (folder / "ml").mkdir()
    for name, content in files.items():
        (folder / "ml" / name).write_bytes(content.encode(encoding))
    rest = {"features": [ITEM, YEAR, GENRES], "label": {"column": "rating", "at_least": 4}} | rest
    return read(folder, "movielens_files", {"folder": "ml"}, **rest)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_layouts_with_users(tmp_path: Path, layout: str) -> None:
    dataset = movielens(tmp_path, LAYOUTS[layout], features=[USER, ITEM, YEAR, GENRES, *WHO])
    columns = ["user_id", "item_id", "rating", "label"]
    assert dataset.interactions.select(columns).rows() == [("1", "2", 3.0, 0.0), ("610", "1", 4.0, 1.0)]
    assert dataset.interactions["timestamp"].min() > 800_000_000
    items = dataset.items.select("item_id", "title", "release_year", "genres").rows()
    assert items == [
        ("1", "Misérables, Les", "1995", ["Drama", "Musical"]),
        ("2", "unknown", None, ["unknown"]),
    ]
    users = dataset.users.select("user_id", "age", "gender", "occupation", "zip_code").rows()
    assert users == [("1", "24", "M", "technician", "05146"), ("610", "53", "F", "other", "V0R2M")]


def test_the_latest_layout(tmp_path: Path) -> None:
    dataset = movielens(tmp_path, latest(), "utf-8", display=["title"])
    assert dataset.interactions.select("user_id", "item_id", "rating", "timestamp", "label").rows() == [
        ("1", "2", 0.5, 964982703, 0.0),
        ("610", "1", 4.0, 964981247, 1.0),
    ]
    assert dataset.users.columns == ["user_id"]
    assert dataset.items.select("item_id", "title", "release_year", "genres").rows() == [
        ("1", '"Great Performances" Cats', None, ["(no genres listed)"]),
        ("2", "American President, The", "1995", ["Comedy", "Drama"]),
    ]


@pytest.mark.parametrize(
    ("title", "name", "year"),
    [
        ("Seven (a.k.a. Se7en) (1995) ", "Seven (a.k.a. Se7en)", "1995"),
        ("2001 (1968)", "2001", "1968"),
        ("1984 (a film)", "1984 (a film)", None),
    ],
)
def test_only_the_last_parentheses_are_the_year(
    tmp_path: Path, title: str, name: str, year: str | None
) -> None:
    files = latest(**{"movies.csv": f"movieId,title,genres\n1,{title},War\n"})
    dataset = movielens(tmp_path, files)
    assert dataset.items.select("title", "release_year").row(0) == (name, year)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("ratings.csv", "", "ratings.csv is empty"),
        (
            "ratings.csv",
            "userId,movieId,rating\n1,2,3\n",
            "ratings.csv has no column 'timestamp'; it has: user_id",
        ),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,2,good,4\n", "column 'rating': 'good' is not a"),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n1,2,3,soon\n",
            "column 'timestamp': 'soon' is not a",
        ),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n1,,3,4\n",
            "1 interactions of 'movielens_files' have no",
        ),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3\n", "line 2 has 3 fields"),
        (
            "movies.csv",
            "movieId,title\n1,Heat\n",
            "movies.csv has no column 'genres'; it has: item_id, title",
        ),
        ("movies.csv", "id,title,genres\n1,Heat,War\n", "movies.csv has no column 'item_id'"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path: Path, file: str, content: str, why: str) -> None:
    with pytest.raises(DataUnavailable, match=why):
        movielens(tmp_path, latest(**{file: content}))


def test_an_absent_file_of_a_layout_is_named(tmp_path: Path) -> None:
    files = {name: content for name, content in LAYOUTS["1m"].items() if name != "users.dat"}
    with pytest.raises(DataUnavailable, match=r"users.dat does not exist"):
        movielens(tmp_path, files)


def test_a_folder_without_any_layout(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"'ml' holds none of u.data, ratings.dat and ratings.csv"):
        movielens(tmp_path, {"readme.txt": "hello"})
