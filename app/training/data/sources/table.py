"""Any CSV or Parquet files with named columns."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
from pydantic import Field

from app.errors import DataUnavailable
from app.training.data.dataset import RawTables
from app.training.data.source import Place, Source, SourceConfig


class TableConfig(SourceConfig):
    """The files; their columns are those that the schema and the label rule name."""

    interactions: str = Field(
        description="CSV or Parquet file of interactions; relative to the model's folder."
    )
    users: str | None = Field(default=None, description="CSV or Parquet file with one row per user.")
    items: str | None = Field(default=None, description="CSV or Parquet file with one row per item.")


def read(config: TableConfig, place: Place) -> RawTables:
    """The tables as they are. Raises DataUnavailable."""
    users, items = (
        None if name is None else _read(place.file(name)) for name in (config.users, config.items)
    )
    return RawTables(_read(place.file(config.interactions)), users, items)


def _read(path: Path) -> pl.DataFrame:
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {".csv": _read_csv, ".parquet": pl.read_parquet}
    if path.suffix not in readers:
        raise DataUnavailable(f"the data file {path.name} must end in .csv or .parquet")
    try:
        return readers[path.suffix](path)
    except FileNotFoundError:
        raise DataUnavailable(f"the data file {path.name} does not exist") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataUnavailable(
            f"the data file {path.name} is damaged: {str(error).splitlines()[0]}"
        ) from error


def _read_csv(path: Path) -> pl.DataFrame:
    """Columns that hold nothing but numbers become numbers, but codes such as 007 stay the text that they are."""
    texts = pl.read_csv(path, infer_schema=False)
    codes = [one.name for one in texts.iter_columns() if one.str.contains(r"^[+-]?0\d").any()]
    return pl.read_csv(path, infer_schema_length=None, schema_overrides=dict.fromkeys(codes, pl.String))


SOURCE = Source(
    name="table", config=TableConfig, read=read, summary="CSV or Parquet files with named columns."
)
