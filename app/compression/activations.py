"""What flows into the dense layers of a graph, on rows that the model was trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from app.compression.weights_aside import mapped_weights, set_aside
from app.encoding import Array
from app.errors import CompressionFailed
from app.schema import ROW_REQUEST
from app.training.rows import Rows

_ROWS_PER_RUN = 256


@dataclass(frozen=True)
class Moments:
    """What is known of the vectors x that a value holds."""

    mean: Array
    """float64 [width]."""
    second: Array
    """Mean of `x.T @ x`, float64 [width, width]."""


def moments(model: onnx.ModelProto, values: Sequence[str], rows: Rows) -> dict[str, Moments]:
    """The moments of the vectors along the last dimension of each value, by its name.

    Every one of `rows` is a request of its own. Raises CompressionFailed when onnxruntime cannot run the graph, or a
    value is not finite.
    """
    counts = dict.fromkeys(values, 0)
    first: dict[str, Array] = dict.fromkeys(values, np.zeros(()))
    second: dict[str, Array] = dict.fromkeys(values, np.zeros(()))
    for found in _runs(model, values, rows):
        for name, given in found.items():
            if not np.isfinite(given).all():
                raise CompressionFailed(f"the graph's value {name!r} is not finite on some training rows")
            vectors = given.reshape(-1, given.shape[-1]).astype(np.float64)
            counts[name] += len(vectors)
            first[name] = first[name] + vectors.sum(axis=0)
            second[name] = second[name] + vectors.T @ vectors
    return {name: Moments(first[name] / count, second[name] / count) for name, count in counts.items()}


def _runs(model: onnx.ModelProto, values: Sequence[str], rows: Rows) -> Iterator[dict[str, Array]]:
    """The values, some rows at a time."""
    weights = mapped_weights(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    set_aside(copy)
    inputs = {one.name for one in copy.graph.input}
    computed = [one for one in values if one not in inputs]
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    session = _session(copy) if computed else None
    for start in range(0, len(rows), _ROWS_PER_RUN):
        some = np.arange(start, min(start + _ROWS_PER_RUN, len(rows)))
        feed = {**rows.inputs(some), **weights, ROW_REQUEST: np.arange(len(some), dtype=np.int64)}
        found = {name: feed[name] for name in values if name in inputs}
        if session is not None:
            found |= _run(session, computed, feed)
        yield found


def _session(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise CompressionFailed(f"onnxruntime cannot load the graph: {str(error).splitlines()[0]}") from error


def _run(session: Any, values: list[str], feed: dict[str, Array]) -> dict[str, Array]:
    wanted = {one.name: feed[one.name] for one in session.get_inputs()}
    try:
        return dict(zip(values, session.run(values, wanted), strict=True))
    except Exception as error:
        raise CompressionFailed(f"onnxruntime cannot run the graph: {str(error).splitlines()[0]}") from error
