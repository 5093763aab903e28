"""Runs ONNX Neural Compressor: `python -m loadtest.compression.tools.<this file> SETTING MATERIAL TARGET`."""

import sys
from pathlib import Path

from onnx_neural_compressor import data_reader
from onnx_neural_compressor.quantization import QuantFormat, config, quantize

from loadtest.compression.calibration import Feed, Reader


class _Reader(data_reader.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, material: Path) -> None:
        self._reader = Reader(material)

    def get_next(self) -> Feed | None:
        """The next feed, or None at the end."""
        return self._reader.get_next()

    def rewind(self) -> None:
        """Begin again."""
        self._reader.rewind()


def main(setting: str, material: Path, target: Path) -> None:
    """Compress the graph of `material` into `target`."""
    if setting == "dynamic":
        how = config.DynamicQuantConfig()
    elif setting == "static":
        how = config.StaticQuantConfig(calibration_data_reader=_Reader(material))
    else:
        how = config.StaticQuantConfig(
            calibration_data_reader=_Reader(material), quant_format=QuantFormat.QDQ
        )
    quantize(str(material / "model.onnx"), str(target / "model.onnx"), how)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
