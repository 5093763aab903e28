"""Text tables, read with errors that a person can act on."""

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
    if columns is None:
        return frame
    if len(columns) != frame.width:
        raise DataUnavailable(
            f"the data file {path.name} has {frame.width} columns, and {len(columns)} are expected"
        )
    return frame.rename(dict(zip(frame.columns, columns, strict=True)))


def to_number(frame: pl.DataFrame, column: str, dtype: type[pl.DataType], file: str) -> pl.DataFrame:
    """The frame with one text column as numbers. Raises DataUnavailable naming file, column and the first bad value."""
    cast = frame.with_columns(pl.col(column).cast(dtype, strict=False))
    bad = frame.filter(pl.col(column).is_not_null() & cast[column].is_null())
    if bad.height:
        raise DataUnavailable(f"{file}, column {column!r}: {bad[column][0]!r} is not a number")
    return cast
