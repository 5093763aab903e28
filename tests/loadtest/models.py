"""A small real model that tests of the instrument stand on."""

from pathlib import Path

from tests.small_model import make_small_model

_CARD = """
name = "clicks"

[source]
kind = "architecture"
architecture = "dcn_v2"
config = { embedding_dimension = 8, hidden = [16] }

[schema]
features = [
    { name = "user_id", side = "user", kind = "categorical" },
    { name = "item_id", side = "item", kind = "categorical" },
]

[data]
source = "synthetic"
config = { users = 50, items = 150, interactions = 4000, sharpness = 5.0 }
label = { column = "clicked" }

[training]
epochs = 2
batch_size = 256
learning_rate = 0.01

[profile]
candidates = [1]
samples = 30

[budget]
auc = 0.5

[[recipes]]
name = "int8-static"
steps = [{ technique = "quantize_static", rows = 200 }]
"""


def make_tiny_model(folder: Path) -> None:
    """Train, compress and publish it below an empty folder."""
    make_small_model(folder, _CARD)
