"""A small model with every kind of feature, trained and compressed for real: what tests of serving stand on.

Its data are the synthetic click model, so nothing is fetched, and all of it takes some seconds.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.compression.pipeline import compress
from app.compression.site import Outcome, Selection, Site
from app.model_card import read_card
from app.settings import Settings
from app.store import ArtifactStore
from app.training.data.source import Place
from app.training.train import save, train

NAME = "clicks"
CARD = """
name = "clicks"
title = "Synthetic clicks"
description = "Will this user click?"

[source]
kind = "architecture"
architecture = "dcn_v2"
config = { embedding_dimension = 8, hidden = [32, 16] }

[schema]
features = [
    { name = "user_id", side = "user", kind = "categorical" },
    { name = "segment", side = "user", kind = "categorical" },
    { name = "history", side = "user", kind = "history", of = "item_id", max_length = 5 },
    { name = "device", side = "context", kind = "categorical" },
    { name = "item_id", side = "item", kind = "categorical" },
    { name = "category", side = "item", kind = "categorical", encoding = "hash", buckets = 16 },
    { name = "price", side = "item", kind = "number" },
    { name = "text", side = "item", kind = "vector", dimension = 4 },
]

[data]
source = "synthetic"
config = { users = 200, items = 150, interactions = 6000, text_dimension = 4 }
label = { column = "clicked" }
split = { kind = "temporal" }
display = ["category"]

[training]
epochs = 2
batch_size = 256
learning_rate = 0.01

[budget]
auc = 0.9

[profile]
candidates = [1, 10, 100]
samples = 30

[[recipes]]
name = "int8-dynamic"
steps = [{ technique = "quantize_dynamic" }]

[[recipes]]
name = "int8-static"
steps = [{ technique = "quantize_static", rows = 500 }]
"""


@dataclass(frozen=True)
class SmallModel:
    """A models folder with one trained model, and a store with its variants."""

    models: Path
    store_folder: Path
    cache: Path

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.store_folder)

    def settings(self, **others: object) -> Settings:
        """Settings that serve it, without a port that is taken."""
        fixed = {"models": self.models, "store": self.store_folder, "cache": self.cache, "port": 0}
        return Settings(**(fixed | others))  # type: ignore[arg-type]

    def copy(self, folder: Path) -> "SmallModel":
        """The same in a folder of its own, to be changed."""
        shutil.copytree(self.models, folder / "models")
        shutil.copytree(self.store_folder, folder / "store")
        return SmallModel(folder / "models", folder / "store", self.cache)

    def compress(self, recipes: Sequence[str] | None = None, *, force: bool = False) -> list[Outcome]:
        """Make variants in this process."""
        site = Site(self.models, self.store, self.cache)
        return compress(NAME, Selection(recipes, force=force), site, lambda done, what: None)


def made_small_model(folder: Path) -> SmallModel:
    """The model that `make_small_model` has made there."""
    return SmallModel(folder / "models", folder / "store", folder / "cache")


def make_small_model(folder: Path, card: str = CARD) -> SmallModel:
    """Train the card's model, compress it, and publish everything, below an empty folder."""
    small = trained_small_model(folder, card)
    small.compress()
    return small


def trained_small_model(folder: Path, card: str = CARD) -> SmallModel:
    """The same without anything in the store."""
    home = folder / "models" / NAME
    home.mkdir(parents=True)
    (home / "model.toml").write_text(card)
    checked, place = read_card(home), Place(folder / "cache", home)
    save(train(checked, place, lambda done, what: None), checked, home)
    return made_small_model(folder)
