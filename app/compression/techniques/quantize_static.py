"""Static int8: weights as int8, activations as uint8 with scales that were calibrated on real rows (QDQ, U8S8)."""

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from pydantic import Field

from app.compression.bias_correction import CORRECT_BIASES, with_corrected_biases
from app.compression.calibration import ROWS_PER_RUN, calibration_inputs, drawn_rows, graph_inputs
from app.compression.graph import DENSE_OPERATORS
from app.compression.mixed_precision import MixedPrecisionConfig, with_mixed_precision
from app.compression.quantizer import quantized
from app.compression.technique import Technique
from app.compression.weights_aside import mapped_weights
from app.compression.workshop import Workshop
from app.encoding import Array
from app.machine import int8_saturates
from app.training.rows import Rows

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


class QuantizeStaticConfig(MixedPrecisionConfig):
    """How ranges of activations are found and how weights are quantized."""

    rows: int = Field(default=2048, ge=1, le=100_000, description="Training rows that calibrate the ranges.")
    method: Literal["minmax", "entropy", "percentile"] = Field(
        default="minmax", description="How a range follows from the values seen."
    )
    per_channel: bool = Field(default=True, description="One scale per output channel instead of per tensor.")
    correct_biases: bool = Field(default=False, description=CORRECT_BIASES)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Training rows drawn by seed, each a request of its own, some at a time, with the weights that are inputs.

    onnxruntime's histograms need runs of equal size, so at most one row of a run is left out.
    """

    def __init__(self, rows: Rows, count: int, seed: int, model: onnx.ModelProto) -> None:
        drawn = drawn_rows(rows, count, seed)
        runs = -(-len(drawn) // ROWS_PER_RUN)
        # A graph need not read every feature.
        self._wanted = {one.name for one in model.graph.input}
        self._weights = mapped_weights(model)
        self._feeds = self._each(rows, drawn[: len(drawn) // runs * runs])

    def _each(self, rows: Rows, drawn: Array) -> Iterator[dict[str, Array]]:
        for inputs in graph_inputs(rows, drawn):
            read = {name: values for name, values in inputs.items() if name in self._wanted}
            yield {**read, **self._weights}

    def get_next(self) -> dict[str, Array] | None:
        """The next rows, or None at the end: the shape of the interface that onnxruntime asks for."""
        return next(self._feeds, None)


def apply(model: onnx.ModelProto, config: QuantizeStaticConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with every dense layer in int8 but the last, and but those that `keep_float` leaves.

    Raises CompressionFailed.
    """
    rows = workshop.rows(TECHNIQUE.name)
    inputs = calibration_inputs(workshop, config.rows, TECHNIQUE.name) if config.correct_biases else []
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "quant_format": QuantFormat.QDQ,
            "op_types_to_quantize": list(DENSE_OPERATORS),
            "per_channel": config.per_channel,
            "reduce_range": int8_saturates(workshop.machine),
            "activation_type": QuantType.QUInt8,
            "weight_type": QuantType.QInt8,
            "calibrate_method": _METHODS[config.method],
            # Ranges do not depend on which layers are quantized: they are found once.
            "calibration_cache_path": Path(folder) / "ranges.json",
            # What a layer gives goes into sums and gates in float: rounding it as well would only lose precision.
            "extra_options": {"OpTypesToExcludeOutputQuantization": list(DENSE_OPERATORS)},
        }

        def with_these(layers: Collection[str]) -> onnx.ModelProto:
            reader = _Reader(rows, config.rows, workshop.seed, model)

            def quantize(copy: onnx.ModelProto, target: Path) -> None:
                quantize_static(copy, target, reader, nodes_to_quantize=list(layers), **settings)

            made = quantized(model, TECHNIQUE.name, quantize)
            return with_corrected_biases(model, made, inputs) if config.correct_biases else made

        return with_mixed_precision(model, with_these, config, workshop)


TECHNIQUE = Technique(
    name="quantize_static",
    stage="graph",
    config=QuantizeStaticConfig,
    apply=apply,
    summary="Dense layers in int8, activations by ranges calibrated on training rows: no score depends on its batch.",
    source="onnxruntime quantization, static; Jacob et al., 2018 (arXiv 1712.05877)",
    needs_rows=True,
)
