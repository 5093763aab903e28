"""Runs onnxruntime's quantizers: `python -m loadtest.compression.tools.onnxruntime_job SETTING MATERIAL TARGET`."""

import sys
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from loadtest.compression.calibration import Reader


def main(setting: str, material: Path, target: Path) -> None:
    """Compress the graph of `material` into `target`."""
    source, result = material / "model.onnx", target / "model.onnx"
    if setting == "dynamic":
        quantize_dynamic(source, result)
    elif setting == "static":
        quantize_static(source, result, Reader(material))
    else:
        prepared = target / "prepared.onnx"
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            result,
            Reader(material),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        prepared.unlink()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
