"""Runs Neural Compressor: `python -m loadtest.compression.tools.neural_compressor_job SETTING MATERIAL TARGET`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from neural_compressor import PostTrainingQuantConfig, quantization

from loadtest.compression.calibration import ROWS_PER_RUN, Feed, feeds


class _Rows:
    """What it asks for: something to iterate over that gives inputs and labels, and knows its batch size."""

    batch_size = ROWS_PER_RUN

    def __init__(self, material: Path) -> None:
        self._material = material

    def __iter__(self) -> Iterator[tuple[Feed, int]]:
        return ((feed, 0) for feed in feeds(self._material))


def main(setting: str, material: Path, target: Path) -> None:
    """Compress the graph of `material` into `target`."""
    config = PostTrainingQuantConfig(approach=setting)
    rows = _Rows(material) if setting == "static" else None
    made = quantization.fit(str(material / "model.onnx"), config, calib_dataloader=rows)
    if made is None:
        raise RuntimeError("quantization.fit gave no graph")
    made.save(str(target / "model.onnx"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
