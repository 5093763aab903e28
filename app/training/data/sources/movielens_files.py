"""MovieLens in the layouts that GroupLens gives out: 100K (u.data), 1M (ratings.dat) and latest (ratings.csv)."""

from pathlib import Path

import polars as pl
from pydantic import Field

from app.errors import DataUnavailable
from app.training.data.dataset import RawTables
from app.training.data.delimited import read_delimited, to_number
from app.training.data.source import Place, Source, SourceConfig

RATINGS = ["user_id", "item_id", "rating", "timestamp"]
GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
]


class MovieLensFilesConfig(SourceConfig):
    """Where the unpacked files are."""

    folder: str = Field(description="Folder of the unpacked data set; relative to the model's folder.")


def read(config: MovieLensFilesConfig, place: Place) -> RawTables:
    """Whichever layout the folder holds. Raises DataUnavailable when it holds none."""
    folder = place.file(config.folder)
    for marker, reader in (("u.data", _read_100k), ("ratings.dat", _read_1m), ("ratings.csv", _read_latest)):
        if (folder / marker).is_file():
            return reader(folder)
    raise DataUnavailable(
        f"the folder {folder.name!r} holds none of u.data, ratings.dat and ratings.csv: it is no MovieLens data set"
    )


def _read_100k(folder: Path) -> RawTables:
    columns = ["item_id", "title", "release_date", "video_release_date", "imdb_url", *GENRES_100K]
    items = read_delimited(folder / "u.item", "|", columns, "latin-1")
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES_100K]
    items = items.with_columns(pl.concat_list(flags).list.drop_nulls().alias("genres"))
    users = read_delimited(folder / "u.user", "|", ["user_id", "age", "gender", "occupation", "zip_code"])
    ratings = _ratings(read_delimited(folder / "u.data", "\t", RATINGS), "u.data")
    return RawTables(ratings, users, _title_and_year(items))


def _read_1m(folder: Path) -> RawTables:
    items = read_delimited(folder / "movies.dat", "::", ["item_id", "title", "genres"], "latin-1")
    users = read_delimited(folder / "users.dat", "::", ["user_id", "gender", "age", "occupation", "zip_code"])
    ratings = _ratings(read_delimited(folder / "ratings.dat", "::", RATINGS), "ratings.dat")
    return RawTables(ratings, users, _title_and_year(_split_genres(items)))


def _read_latest(folder: Path) -> RawTables:
    names = {"userId": "user_id", "movieId": "item_id"}
    items = read_delimited(folder / "movies.csv", ",", quoted=True).rename(names, strict=False)
    ratings = read_delimited(folder / "ratings.csv", ",", quoted=True).rename(names, strict=False)
    _need(items, ["item_id", "title", "genres"], "movies.csv")
    return RawTables(_ratings(ratings, "ratings.csv"), None, _title_and_year(_split_genres(items)))


def _ratings(frame: pl.DataFrame, file: str) -> pl.DataFrame:
    _need(frame, RATINGS, file)
    return to_number(to_number(frame, "rating", pl.Float32, file), "timestamp", pl.Int64, file)


def _need(frame: pl.DataFrame, columns: list[str], file: str) -> None:
    if absent := [name for name in columns if name not in frame.columns]:
        raise DataUnavailable(f"{file} has no column {absent[0]!r}; it has: {', '.join(frame.columns)}")


def _split_genres(items: pl.DataFrame) -> pl.DataFrame:
    return items.with_columns(pl.col("genres").str.split("|"))


def _title_and_year(items: pl.DataFrame) -> pl.DataFrame:
    """`Heat (1995)` is the film Heat of the year 1995; a title without a year keeps its text."""
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$")
    title = pl.col("title").str.replace(r"\s*\(\d{4}\)\s*$", "")
    return items.with_columns(year.alias("release_year"), title.alias("title"))


SOURCE = Source(
    name="movielens_files",
    config=MovieLensFilesConfig,
    read=read,
    summary="A MovieLens data set as GroupLens gives it out: 100K, 1M or latest.",
)
