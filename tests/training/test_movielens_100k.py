"""MovieLens-100K through pip: from a folder with a small wheel in the place of the package index."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from app.errors import DataUnavailable
from app.training.data.dataset import Dataset
from app.training.data.sources import movielens_100k
from app.training.data.sources.movielens_100k import FILES, INSIDE

from tests.training.lessons import ITEM, USER, read

CONTENT = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n",
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tKolya\t1996\tComedy War\n",
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "196\t49\tM\twriter\t55105\n",
}
FEATURES = [
    *(USER, ITEM),
    {"name": "occupation", "side": "user", "kind": "categorical"},
    {"name": "genres", "side": "item", "kind": "multi", "max_length": 2},
]
METADATA = "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture(autouse=True)
def small_files_are_the_expected_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {name: hashlib.sha256(CONTENT[name].encode()).hexdigest() for name in FILES}
    monkeypatch.setattr(movielens_100k, "FILES", hashes)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks: an empty folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def put_wheel(index: Path, content: dict[str, str]) -> None:
    with zipfile.ZipFile(index / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
        for name, text in content.items():
            wheel.writestr(f"{INSIDE}/{name}", text)
        for name, text in (("METADATA", METADATA), ("WHEEL", WHEEL), ("RECORD", "")):
            wheel.writestr(f"recbole-1.2.1.dist-info/{name}", text)


def put_files(folder: Path, content: dict[str, str]) -> Path:
    cache = folder / "cache" / "movielens-100k"
    cache.mkdir(parents=True)
    for name, text in content.items():
        (cache / name).write_text(text)
    return cache


def movielens(folder: Path) -> Dataset:
    label = {"column": "rating", "at_least": 4}
    return read(folder, "movielens_100k", {}, features=FEATURES, label=label, display=["title"])


def test_files_in_the_cache_are_read_as_they_are(tmp_path: Path) -> None:
    put_files(tmp_path, CONTENT)
    dataset = movielens(tmp_path)
    columns = ["user_id", "item_id", "rating", "timestamp", "label"]
    assert dataset.interactions.select(columns).rows() == [("196", "242", 3.0, 881250949, 0.0)]
    assert dataset.items.rows() == [("242", "Kolya", "1996", ["Comedy", "War"])]
    assert dataset.users.rows() == [("196", "49", "M", "writer", "55105")]


@pytest.mark.parametrize("damage", ["absent", "changed", "one is missing"])
def test_what_is_not_whole_is_fetched_anew(tmp_path: Path, index: Path, damage: str) -> None:
    if damage != "absent":
        changes = {"ml-100k.inter": "cut off"} if damage == "changed" else {}
        kept = {name: text for name, text in CONTENT.items() if damage == "changed" or name != "ml-100k.user"}
        put_files(tmp_path, kept | changes)
    put_wheel(index, CONTENT)
    assert movielens(tmp_path).interactions.height == 1
    cache = tmp_path / "cache" / "movielens-100k"
    assert {path.name: path.read_text() for path in cache.iterdir()} == CONTENT, "and nothing else is left"


@pytest.mark.parametrize("content", [CONTENT | {"ml-100k.inter": "something else"}, {}])
def test_a_wheel_with_other_files_is_refused(tmp_path: Path, index: Path, content: dict[str, str]) -> None:
    cache = put_files(tmp_path, {"ml-100k.inter": "cut off"})
    put_wheel(index, content)
    with pytest.raises(
        DataUnavailable, match=r"ml-100k.inter in the wheel of recbole==1.2.1 is not the file"
    ):
        movielens(tmp_path)
    assert {path.name: path.read_text() for path in cache.iterdir()} == {"ml-100k.inter": "cut off"}


def test_when_pip_finds_nothing_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable) as caught:
        movielens(tmp_path)
    message = caught.value.message
    assert "MovieLens-100K could not be fetched: pip says: ERROR: No matching distribution" in message
    assert "Check that pip reaches a package index, or put the files ml-100k.inter, ml-100k.item" in message
    assert "into movielens-100k/ in the cache folder by hand" in message
