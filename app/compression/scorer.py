"""Scores from a graph on disk, with fixed threads: what evaluation and profiling look at.

Unlike a worker's session it has an arena of its own. With the malloc settings that workers are given, both are as fast.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from app.artifact import GRAPH_FILE
from app.encoding import Array
from app.errors import CompressionFailed
from app.schema import ROW_REQUEST, SCORE
from app.training.rows import Rows

ROWS_PER_RUN = 1000


class Scorer:
    """A session over `folder`/model.onnx with a fixed number of threads.

    Raises CompressionFailed when onnxruntime cannot load or run the graph: a ready one may be anything.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = folder / GRAPH_FILE
        try:
            self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            reason = _first_line(error).replace(str(path), path.name)
            raise CompressionFailed(f"onnxruntime cannot load the graph: {reason}") from error
        self._wanted = {one.name for one in self.session.get_inputs()}

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        """Scores float32 [num_candidates] of graph inputs: request features [num_requests, ...], items per row.

        Raises CompressionFailed when a score is not a finite number.
        """
        feed = {name: values for name, values in inputs.items() if name in self._wanted}
        if ROW_REQUEST in self._wanted:
            feed[ROW_REQUEST] = row_request
        try:
            scores: Array = self.session.run([SCORE], feed)[0]
        except Exception as error:
            raise CompressionFailed(f"onnxruntime cannot run the graph: {_first_line(error)}") from error
        if not np.isfinite(scores).all():
            raise CompressionFailed("the graph gives scores that are not finite numbers")
        return scores

    def score_rows(self, rows: Rows) -> Array:
        """Scores float32 [len(rows)], each row a request of its own, `ROWS_PER_RUN` at a time."""
        parts = []
        for start in range(0, len(rows), ROWS_PER_RUN):
            chunk = np.arange(start, min(start + ROWS_PER_RUN, len(rows)), dtype=np.int64)
            parts.append(self.run(rows.inputs(chunk), np.arange(len(chunk), dtype=np.int64)))
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
