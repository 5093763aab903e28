"""Text tables, whole and damaged."""

from pathlib import Path

import polars as pl
import pytest
from app.errors import DataUnavailable
from app.training.data.delimited import read_delimited, to_number
from hypothesis import given
from hypothesis import strategies as st

FIELDS = st.text(
    st.characters(codec="latin-1", exclude_categories=["Cc"], exclude_characters='|"'), min_size=1
)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "data.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("separator", ["|", "\t", "::"])
def test_columns_are_text_and_an_empty_field_is_missing(tmp_path: Path, separator: str) -> None:
    lines = [["a", "b", "c"], ["1", "007", 'says "x"'], ["2", "", "é"], ["3", "x y", ""]]
    path = written(tmp_path, "\n".join(separator.join(line) for line in lines))
    frame = read_delimited(path, separator)
    assert frame.rows() == [("1", "007", 'says "x"'), ("2", None, "é"), ("3", "x y", None)]


def test_line_ends_of_every_system_and_empty_lines_at_the_end(tmp_path: Path) -> None:
    for end in ("\n", "\r\n"):
        path = written(tmp_path, end.join(["a,b", "1,2", "", ""]))
        assert read_delimited(path, ",").rows() == [("1", "2")]


def test_quotes_keep_separators_and_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n1,"x, ""y""\nz"\n2,\n')
    assert read_delimited(path, ",", quoted=True).rows() == [("1", 'x, "y"\nz'), ("2", None)]


@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), min_size=1, max_size=5))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    path = tmp_path_factory.mktemp("text") / "data.txt"
    path.write_text("\n".join("|".join(row) for row in rows), encoding="latin-1")
    assert read_delimited(path, "|", ["a", "b", "c"], "latin-1").rows() == rows


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "data.txt is empty"),
        (" \n\n", "data.txt is empty"),
        (b"a,b\n1,\xff\n", "data.txt cannot be read as utf-8 text"),
        ("a,b\n1,2\n3\n", "data.txt is damaged: line 3 has 1 fields, and the first line has 2"),
        ("a,b\n1,2\n\n3,4\n", "data.txt is damaged: line 3 has 0 fields"),
        ("a,b\n1,2\n3,4,5\n", "data.txt is damaged: found more fields"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str | bytes, why: str) -> None:
    with pytest.raises(DataUnavailable, match=why):
        read_delimited(written(tmp_path, content), ",")


def test_an_absent_file_and_a_wrong_number_of_columns(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"nothing.txt does not exist"):
        read_delimited(tmp_path / "nothing.txt", ",")
    with pytest.raises(DataUnavailable, match="has 2 columns, and 3 are expected"):
        read_delimited(written(tmp_path, "1,2\n"), ",", ["a", "b", "c"])


def test_numbers_are_read_and_the_first_bad_one_is_named() -> None:
    frame = pl.DataFrame({"x": ["1", None, "2.5e1"]})
    assert to_number(frame, "x", pl.Float64, "file")["x"].to_list() == [1.0, None, 25.0]
    for bad in ("x", "nan", "inf", "1,5"):
        with pytest.raises(DataUnavailable, match=f"the file, column 'x': '{bad}' is not a number"):
            to_number(pl.DataFrame({"x": ["1", bad, "y"]}), "x", pl.Float64, "the file")
    with pytest.raises(DataUnavailable, match=r"'1.5' is not a number"):
        to_number(pl.DataFrame({"x": ["1", "1.5"]}), "x", pl.Int64, "the file")
