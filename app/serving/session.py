"""One graph in memory, ready to run: an onnxruntime session with bounded threads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import onnxruntime as ort

from app.artifact import GRAPH_FILE
from app.encoding import Array
from app.errors import ArtifactCorrupt
from app.schema import ROW_REQUEST, SCORE, FeatureSchema


class Graph:
    """A graph of an artifact. Weights are mapped from it, so that workers share them. Raises ArtifactCorrupt."""

    def __init__(self, folder: Path, file: str, threads: int) -> None:
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
                str(folder / file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            reason = str(error).splitlines()[0].replace(str(folder), where)  # clients see no paths
            raise ArtifactCorrupt(f"{where}: onnxruntime cannot load the graph: {reason}") from error
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = [one.name for one in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """What the graph gives, in the order of `outputs`; inputs that it does not have may be there."""
        found: list[Array] = self._session.run(self.outputs, {name: inputs[name] for name in self.inputs})
        return found


class Scoring(Protocol):
    """What scores rows of requests."""

    @property
    def kept_bytes(self) -> int:
        """Memory that values of items take which were computed beforehand."""
        ...

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        """Scores float32 [rows]; request features are [requests, ...], item features [rows, ...].

        `row_request`, int64 [rows], says which request each row belongs to.
        """
        ...

    def run_catalog(self, inputs: Mapping[str, Array], rows: Array, row_request: Array) -> Array:
        """The same for items as the catalog has them, int64 [rows]; `inputs` are the request features."""
        ...

    def items_of(self, rows: Array) -> dict[str, Array]:
        """Item features [rows, ...] of these rows of the catalog."""
        ...


class Session:
    """Scores with the whole graph. Raises ArtifactCorrupt when it does not fit the schema."""

    kept_bytes = 0

    def __init__(self, folder: Path, schema: FeatureSchema, threads: int, items: Mapping[str, Array]) -> None:
        self._graph = Graph(folder, GRAPH_FILE, threads)
        self._items = {name: values for name, values in items.items() if name in self._graph.inputs}
        known = {feature.name for feature in schema.features} | {ROW_REQUEST}
        if not set(self._graph.inputs) <= known or self._graph.outputs != [SCORE]:
            raise ArtifactCorrupt(f"{'/'.join(folder.parts[-3:])}: the graph does not fit its schema")

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        """As Scoring has it."""
        return self._graph.run({**inputs, ROW_REQUEST: row_request})[0]

    def run_catalog(self, inputs: Mapping[str, Array], rows: Array, row_request: Array) -> Array:
        """As Scoring has it."""
        return self.run({**inputs, **self.items_of(rows)}, row_request)

    def items_of(self, rows: Array) -> dict[str, Array]:
        """As Scoring has it."""
        return {name: values.take(rows, axis=0) for name, values in self._items.items()}
