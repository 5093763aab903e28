"""MovieLens-100K (GroupLens, 1998), taken from the RecBole 1.2.1 wheel on the Python package index.

The wheel is fetched by pip without its dependencies and never installed; three files are taken out of it, compared
with pinned sha256 values and kept in the cache.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import polars as pl

from app.errors import DataUnavailable
from app.training.data.dataset import RawTables
from app.training.data.delimited import read_delimited
from app.training.data.source import Place, Source, SourceConfig

WHEEL = "recbole==1.2.1"
INSIDE = "recbole/dataset_example/ml-100k"
FILES = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
FETCH_TIMEOUT_SECONDS = 300


class MovieLens100KConfig(SourceConfig):
    """It has no settings."""


def read(config: MovieLens100KConfig, place: Place) -> RawTables:  # noqa: ARG001 - every source has this shape
    """The 100,000 ratings, 1,682 items and 943 users. Raises DataUnavailable."""
    folder = place.cache / "movielens-100k"
    if not _complete(folder):
        _fetch(folder)
    interactions, items, users = (read_delimited(folder / name, "\t") for name in FILES)
    return RawTables(
        interactions=interactions.select(
            pl.col("user_id:token").alias("user_id"),
            pl.col("item_id:token").alias("item_id"),
            pl.col("rating:float").cast(pl.Float32).alias("rating"),
            pl.col("timestamp:float").cast(pl.Int64).alias("timestamp"),
        ),
        users=users.rename(lambda name: name.partition(":")[0]),
        items=items.select(
            pl.col("item_id:token").alias("item_id"),
            pl.col("movie_title:token_seq").alias("title"),
            pl.col("release_year:token").alias("release_year"),
            pl.col("class:token_seq").str.split(" ").alias("genres"),
        ),
    )


def _complete(folder: Path) -> bool:
    return all(
        (folder / name).is_file() and hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        for name, sha256 in FILES.items()
    )


def _fetch(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        _download(Path(temporary))
        wheel = next(Path(temporary).glob("*.whl"))
        for name, sha256 in FILES.items():
            with zipfile.ZipFile(wheel) as archive:
                inside = f"{INSIDE}/{name}"
                content = archive.read(inside) if inside in archive.namelist() else b""
            if hashlib.sha256(content).hexdigest() != sha256:
                raise DataUnavailable(f"{name} in the wheel of {WHEEL} is not the file that was expected")
            part = Path(temporary) / name
            part.write_bytes(content)
            part.replace(folder / name)


def _download(target: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    remedy = (
        "Check that pip reaches a package index, or put the files "
        f"{', '.join(FILES)} into movielens-100k/ in the cache folder by hand"
    )
    try:
        done = subprocess.run(
            [*command, "--dest", str(target), WHEEL],
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataUnavailable(f"fetching MovieLens-100K ({WHEEL}) took too long. {remedy}.") from error
    if done.returncode or not list(target.glob("*.whl")):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataUnavailable(f"MovieLens-100K could not be fetched: pip says: {last}. {remedy}.")


SOURCE = Source(
    name="movielens_100k",
    config=MovieLens100KConfig,
    read=read,
    summary="MovieLens-100K, fetched once through pip.",
)
