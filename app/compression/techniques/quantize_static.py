"""Static int8: weights as int8, activations as uint8 with scales that were calibrated on real rows (QDQ, U8S8)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from pydantic import Field

from app.compression.graph import DENSE_OPERATORS
from app.compression.quantizer import aside, dense_to_quantize, quantized
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.encoding import Array
from app.machine import int8_saturates
from app.schema import ROW_REQUEST
from app.training.rows import Rows

_ROWS_PER_RUN = 256
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


class QuantizeStaticConfig(TechniqueConfig):
    """How ranges of activations are found and how weights are quantized."""

    rows: int = Field(default=2048, ge=1, le=100_000, description="Training rows that calibrate the ranges.")
    method: Literal["minmax", "entropy", "percentile"] = Field(
        default="minmax", description="How a range follows from the values seen."
    )
    per_channel: bool = Field(default=True, description="One scale per output channel instead of per tensor.")


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Training rows drawn by seed, each a request of its own, some at a time, with the weights that are inputs.

    onnxruntime's histograms need runs of equal size, so at most one row of a run is left out.
    """

    def __init__(self, rows: Rows, config: QuantizeStaticConfig, seed: int, model: onnx.ModelProto) -> None:
        drawn = np.random.default_rng(seed).permutation(len(rows))[: config.rows]
        runs = -(-len(drawn) // _ROWS_PER_RUN)
        # A graph need not read every feature.
        self._wanted = {one.name for one in model.graph.input}
        self._weights = aside(model)
        self._feeds = self._each(rows, np.sort(drawn[: len(drawn) // runs * runs]), runs)

    def _each(self, rows: Rows, drawn: Array, runs: int) -> Iterator[dict[str, Array]]:
        for some in np.split(drawn, runs):
            row_request = np.arange(len(some), dtype=np.int64)
            feed = {**rows.inputs(some), ROW_REQUEST: row_request}
            read = {name: values for name, values in feed.items() if name in self._wanted}
            yield {**read, **self._weights}

    def get_next(self) -> dict[str, Array] | None:
        """The next rows, or None at the end: the shape of the interface that onnxruntime asks for."""
        return next(self._feeds, None)


def apply(model: onnx.ModelProto, config: QuantizeStaticConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with every dense layer but the last in int8. Raises CompressionFailed."""
    reader = _Reader(workshop.rows(TECHNIQUE.name), config, workshop.seed, model)

    def quantize(copy: onnx.ModelProto, target: Path) -> None:
        quantize_static(
            copy,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(DENSE_OPERATORS),
            per_channel=config.per_channel,
            reduce_range=int8_saturates(workshop.machine),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=dense_to_quantize(copy),
            calibrate_method=_METHODS[config.method],
            # What a layer gives goes into sums and gates in float: rounding it as well would only lose precision.
            extra_options={"OpTypesToExcludeOutputQuantization": list(DENSE_OPERATORS)},
        )

    return quantized(model, TECHNIQUE.name, quantize)


TECHNIQUE = Technique(
    name="quantize_static",
    stage="graph",
    config=QuantizeStaticConfig,
    apply=apply,
    summary="Dense layers in int8, activations by ranges calibrated on training rows: no score depends on its batch.",
    source="onnxruntime quantization, static; Jacob et al., 2018 (arXiv 1712.05877)",
    needs_rows=True,
)
