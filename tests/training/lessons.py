"""What tests of training share: data in memory and on disk, and clicks that are quick to learn."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from app.model_card import Data, ModelCard
from app.schema import FeatureSchema
from app.training.data.dataset import Dataset
from app.training.data.source import Place, read_dataset
from app.training.fit import Lesson
from app.training.rows import Prepared
from app.training.train import prepare_data

from tests.small_model import CARD

ITEM = {"name": "item_id", "side": "item", "kind": "categorical"}
USER = {"name": "user_id", "side": "user", "kind": "categorical"}


def schema_of(*features: Mapping[str, Any]) -> FeatureSchema:
    return FeatureSchema.model_validate({"features": features})


def dataset_of(
    interactions: Mapping[str, Sequence[Any]],
    users: Mapping[str, Sequence[Any]] | None = None,
    items: Mapping[str, Sequence[Any]] | None = None,
) -> Dataset:
    """A data set in memory; users and items are those that occur, where they are not given."""
    frame = pl.DataFrame(dict(interactions), strict=False)
    sides = [
        frame.select(key).unique().sort(key) if side is None else pl.DataFrame(dict(side), strict=False)
        for key, side in (("user_id", users), ("item_id", items))
    ]
    return Dataset(frame, *sides, sha256="0", facts={})


def read(folder: Path, source: str, config: Mapping[str, Any], **rest: Any) -> Dataset:
    """Read a source of that folder; `rest` has the schema's `features` and more of [data]."""
    schema = schema_of(*rest.pop("features", (ITEM,)))
    data = Data.model_validate({"source": source, "config": dict(config), **rest})
    return read_dataset(data, schema, Place(folder / "cache", folder))


def click_card(**changes: Any) -> ModelCard:
    """A model of few users and items whose taste is strong: a few passes over its rows are enough."""
    content = tomllib.loads(CARD)
    sizes = {"users": 40, "items": 30, "interactions": 4000, "text_dimension": 4, "sharpness": 4.0}
    content["data"] |= {"config": sizes, "split": {"kind": "random"}}
    content["training"] = {"epochs": 3, "batch_size": 128, "learning_rate": 0.01}
    return ModelCard.model_validate(content | changes)


@cache
def clicks() -> Prepared:
    """The rows of that model. They are shared: do not change them."""
    nowhere = Path("no-folder-is-needed")
    return prepare_data(click_card(), Place(nowhere, nowhere))


def click_lesson(**changes: Any) -> Lesson:
    """What is taught with them."""
    rows = {"train": clicks().train, "validation": clicks().validation}
    return Lesson(clicks().encoder.schema, **(rows | changes))


def silent(done: float, what: str) -> None:
    """A progress that nobody looks at."""
