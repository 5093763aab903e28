"""Text tables, read with errors that a person can act on."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from app.errors import DataUnavailable


def read_delimited(
    path: Path,
    separator: str,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
    *,
    quoted: bool = False,
) -> pl.DataFrame:
    """Every column as text; `columns` names them where the file has no header line.

    `separator` may have several characters. Raises DataUnavailable naming the file when it is absent, empty, not text
    in that encoding, or has lines with another number of fields than the first one.
    """
    try:
        text = path.read_text(encoding=encoding)
    except FileNotFoundError:
        raise DataUnavailable(f"the data file {path.name} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataUnavailable(
            f"the data file {path.name} cannot be read as {encoding} text: {error}"
        ) from error
    if not text.strip():
        raise DataUnavailable(f"the data file {path.name} is empty")
    text = text.rstrip("\n")
    if len(separator) > 1:
        text = text.replace(separator, "\x1f")
        separator = "\x1f"
    try:
        frame = pl.read_csv(
            text.encode(),
            separator=separator,
            has_header=columns is None,
            infer_schema=False,
            quote_char='"' if quoted else None,
        )
    except pl.exceptions.PolarsError as error:
        raise DataUnavailable(
            f"the data file {path.name} is damaged: {str(error).splitlines()[0]}"
        ) from error
    _refuse_short_lines(text, separator, frame, path.name, quoted=quoted)
    if columns is None:
        return frame
    if len(columns) != frame.width:
        raise DataUnavailable(
            f"the data file {path.name} has {frame.width} columns, and {len(columns)} are expected"
        )
    return frame.rename(dict(zip(frame.columns, columns, strict=True)))


def _refuse_short_lines(text: str, separator: str, frame: pl.DataFrame, file: str, *, quoted: bool) -> None:
    """Polars fills a line that has too few fields with nulls; here that is damage, as too many fields are."""
    if not frame.to_series(-1).null_count():
        return  # a short line always lacks the last field
    rows = io.StringIO(text, newline="")
    lines = csv.reader(rows, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    for fields in lines:
        if len(fields) < frame.width:
            raise DataUnavailable(
                f"the data file {file} is damaged: line {lines.line_num} has {len(fields)} fields, "
                f"and the first line has {frame.width}"
            )


def to_number(frame: pl.DataFrame, column: str, dtype: type[pl.DataType], file: str) -> pl.DataFrame:
    """The frame with one text column as numbers. Raises DataUnavailable naming file, column and the first bad value."""
    cast = frame.with_columns(pl.col(column).cast(dtype, strict=False))
    # `nan` and `inf` are numbers to polars, and no value of anything here.
    bad = frame.filter(pl.col(column).is_not_null() & ~cast[column].is_finite().fill_null(value=False))
    if bad.height:
        raise DataUnavailable(f"{file}, column {column!r}: {bad[column][0]!r} is not a number")
    return cast
