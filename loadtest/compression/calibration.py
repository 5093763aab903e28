"""The calibration rows, as every tool's job reads them: inside its own environment, so this needs numpy alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROWS = 2048
ROWS_PER_RUN = 256
_SEED = 0
_FILE = "calibration.npz"
Feed = dict[str, np.ndarray]


def draw(train: Feed, target: Path) -> None:
    """Write the training rows that Slimrank's own `quantize_static` would calibrate with, by its default settings."""
    count = len(next(iter(train.values())))
    drawn = np.sort(np.random.default_rng(_SEED).permutation(count)[:ROWS])
    np.savez(target / _FILE, **{name: values[drawn] for name, values in train.items()})


def feeds(material: Path) -> Iterator[Feed]:
    """Graph inputs of the calibration rows, some at a time, each row a request of its own."""
    with np.load(material / _FILE, allow_pickle=False) as file:
        rows = {name: file[name] for name in file.files}
    count = len(next(iter(rows.values())))
    for start in range(0, count - count % ROWS_PER_RUN or count, ROWS_PER_RUN):
        some = {name: values[start : start + ROWS_PER_RUN] for name, values in rows.items()}
        length = len(next(iter(some.values())))
        yield {**some, "row_request": np.arange(length, dtype=np.int64)}


class Reader:
    """The same in the shape that onnxruntime's quantizers, and those built on them, ask for."""

    def __init__(self, material: Path) -> None:
        self._material = material
        self.rewind()

    def get_next(self) -> Feed | None:
        """The next feed, or None at the end."""
        return next(self._feeds, None)

    def rewind(self) -> None:
        """Begin again."""
        self._feeds = feeds(self._material)
