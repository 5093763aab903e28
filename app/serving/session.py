"""One graph in memory, ready to score: an onnxruntime session with bounded threads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from app.artifact import GRAPH_FILE
from app.encoding import Array
from app.errors import ArtifactCorrupt
from app.schema import ROW_REQUEST, SCORE, FeatureSchema


class Session:
    """Scores rows of requests. Weights are mapped from the artifact, so that workers share them."""

    def __init__(self, folder: Path, schema: FeatureSchema, threads: int) -> None:
        where = "/".join(folder.parts[-3:])
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # An arena of its own would keep, in each session, the most that any run ever needed. Without it sessions share
        # what malloc keeps, at the same speed: see _MALLOC in app/supervisor.py.
        options.enable_cpu_mem_arena = False
        # Workers share cores: a thread that waits must not spin.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            reason = str(error).splitlines()[0].replace(str(folder), where)  # clients see no paths
            raise ArtifactCorrupt(f"{where}: onnxruntime cannot load the graph: {reason}") from error
        self._inputs = {one.name for one in self._session.get_inputs()}
        known = {feature.name for feature in schema.features} | {ROW_REQUEST}
        if not self._inputs <= known or SCORE not in {one.name for one in self._session.get_outputs()}:
            raise ArtifactCorrupt(f"{where}: the graph does not fit its schema")

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        """Scores float32 [rows]; request features are [requests, ...], item features [rows, ...].

        `row_request`, int64 [rows], says which request each row belongs to.
        """
        feed = {name: inputs[name] for name in self._inputs if name != ROW_REQUEST}
        if ROW_REQUEST in self._inputs:
            feed[ROW_REQUEST] = row_request
        scores: Array = self._session.run([SCORE], feed)[0]
        return np.asarray(scores)
