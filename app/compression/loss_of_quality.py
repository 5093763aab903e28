"""What a graph loses against another one on validation rows: the test rows are for the gate alone."""

from typing import Literal

import numpy as np
import onnx

from app.compression.calibration import drawn_rows, graph_inputs
from app.compression.probe import Probe
from app.encoding import Array
from app.errors import CompressionFailed
from app.schema import SCORE
from app.training.metrics import auc
from app.training.rows import Rows

Measure = Literal["auc", "logit"]
_MOST_ROWS = 20_000
# Scores nearer to 0 and 1 than float32 can tell apart.
_EPSILON = 1e-7


class QualityLoss:
    """The same rows for every graph, at most `_MOST_ROWS` of them, drawn by seed.

    Raises CompressionFailed when there are none.
    """

    def __init__(self, model: onnx.ModelProto, rows: Rows, seed: int) -> None:
        if not len(rows):
            raise CompressionFailed("there are no validation rows to measure on")
        drawn = drawn_rows(rows, _MOST_ROWS, seed)
        self._inputs = list(graph_inputs(rows, drawn))
        self._labels = rows.labels[drawn]
        self._logits = self._of_graph(model)

    def of(self, model: onnx.ModelProto, measure: Measure) -> float:
        """The loss by a measure. Raises CompressionFailed where the rows are of one class, which have no AUC."""
        return self.of_auc(model) if measure == "auc" else self.of_logits(model)

    def of_logits(self, model: onnx.ModelProto) -> float:
        """Mean absolute change of a logit."""
        return float(np.abs(self._of_graph(model) - self._logits).mean())

    def of_auc(self, model: onnx.ModelProto) -> float:
        """The AUC of the first graph less that of the other one; negative where the other one is better."""
        lost = auc(self._labels, self._logits) - auc(self._labels, self._of_graph(model))
        if np.isnan(lost):
            raise CompressionFailed(
                'the validation rows are all positive or all negative and have no AUC: set measure = "logit"'
            )
        return lost

    def _of_graph(self, model: onnx.ModelProto) -> Array:
        """Logits, float64 [rows]."""
        probe = Probe(model, [SCORE])
        scores = np.concatenate([probe.run(some)[SCORE] for some in self._inputs]).astype(np.float64)
        scores = np.clip(scores, _EPSILON, 1 - _EPSILON)
        return np.asarray(np.log(scores) - np.log1p(-scores))
