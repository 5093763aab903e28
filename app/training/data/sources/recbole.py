"""RecBole atomic files: `.inter`, `.user` and `.item`, tab separated, each column named `name:type`."""

from pathlib import Path

import polars as pl
from pydantic import Field

from app.errors import DataUnavailable
from app.training.data.dataset import RawTables
from app.training.data.delimited import read_delimited, to_number
from app.training.data.source import Place, Source, SourceConfig


class RecboleConfig(SourceConfig):
    """Where the atomic files are and what their columns shall be called."""

    folder: str = Field(description="Folder of the atomic files; relative to the model's folder.")
    name: str = Field(
        description="Name of the data set: the files are <name>.inter, <name>.user and <name>.item."
    )
    rename: dict[str, str] = Field(
        default_factory=dict, description="Column names of the files to names here."
    )


def read(config: RecboleConfig, place: Place) -> RawTables:
    """The three tables; users and items are optional. Raises DataUnavailable."""
    folder = place.file(config.folder)
    tables = {}
    for kind in ("inter", "user", "item"):
        path = folder / f"{config.name}.{kind}"
        if kind == "inter" or path.is_file():
            tables[kind] = _read_atomic(path, config.rename)
    return RawTables(tables["inter"], tables.get("user"), tables.get("item"))


def _read_atomic(path: Path, rename: dict[str, str]) -> pl.DataFrame:
    frame = read_delimited(path, "\t")
    for header in frame.columns:
        name, _, kind = header.partition(":")
        target = rename.get(name, name)
        if target in frame.columns and target != header:
            raise DataUnavailable(f"{path.name}: two columns are called {target!r}")
        frame = frame.rename({header: target})
        match kind:
            case "token":
                continue
            case "token_seq":
                frame = frame.with_columns(pl.col(target).str.split(" "))
            case "float":
                frame = to_number(frame, target, pl.Float64, path.name)
            case "float_seq":
                frame = _number_lists(frame, target, path.name)
            case _:
                raise DataUnavailable(f"{path.name}: column {header!r} has no type that RecBole knows")
    if "timestamp" in frame.columns:
        frame = to_number(frame, "timestamp", pl.Int64, path.name)
    return frame


def _number_lists(frame: pl.DataFrame, column: str, file: str) -> pl.DataFrame:
    try:
        return frame.with_columns(pl.col(column).str.split(" ").cast(pl.List(pl.Float64)))
    except pl.exceptions.PolarsError as error:
        raise DataUnavailable(f"{file}, column {column!r}: not every list holds numbers only") from error


SOURCE = Source(
    name="recbole",
    config=RecboleConfig,
    read=read,
    summary="RecBole atomic files of any data set.",
)
