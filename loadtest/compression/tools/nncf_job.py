"""Runs NNCF: `python -m loadtest.compression.tools.nncf_job SETTING MATERIAL TARGET`."""

import sys
from pathlib import Path

import nncf
import onnx

from loadtest.compression.calibration import feeds


def main(setting: str, material: Path, target: Path) -> None:
    """Compress the graph of `material` into `target`."""
    graph = onnx.load(material / "model.onnx")
    if setting == "weights":
        made = nncf.compress_weights(graph)
    else:
        preset = nncf.QuantizationPreset.MIXED if setting == "quantize-mixed" else None
        made = nncf.quantize(graph, nncf.Dataset(list(feeds(material))), preset=preset)
    onnx.save(made, target / "model.onnx")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
