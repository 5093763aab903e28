"""A table's new form on trial: does onnxruntime load it, does it give what it should, and how long does it take?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from app.compression.table_forms import CONTRIB_DOMAIN, Form, weights_of
from app.encoding import Array
from app.training.weights import is_external, mapped

IR_VERSION = 10
_LOOKUPS = 1000
_TURNS = 40
_WARM_UP = 3
_CLEARLY = 0.8
_INDICES, _OUTPUT = "indices", "rows"


@dataclass(frozen=True)
class Trial:
    """One form of a table in a session of its own.

    Its weights are inputs of the graph, so that those in files are read where they are. Raises RuntimeError when
    onnxruntime cannot load it.
    """

    session: ort.InferenceSession
    feed: Mapping[str, Array]

    def run(self, indices: Array) -> Array:
        """The rows, float32 [len(indices), dimension]. Raises RuntimeError when onnxruntime cannot run it."""
        try:
            found: Array = self.session.run([_OUTPUT], {**self.feed, _INDICES: indices})[0]
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise RuntimeError(str(error).splitlines()[0]) from error
        return found

    def seconds(self, indices: Array) -> float:
        """Time of one run."""
        started = time.perf_counter()
        self.run(indices)
        return time.perf_counter() - started


def make_trial(form: Form, weights: Sequence[onnx.TensorProto], opset: int) -> Trial:
    """A session over one look-up in the form."""
    nodes, constants = form.nodes(_INDICES, _OUTPUT)
    inputs = [helper.make_tensor_value_info(_INDICES, TensorProto.INT64, ["lookups"])]
    inputs += [helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)) for one in weights]
    outputs = [helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, ["lookups", form.dimension])]
    graph = helper.make_graph(nodes, "trial", inputs, outputs, weights_of(constants))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(CONTRIB_DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise RuntimeError(str(error).splitlines()[0]) from error
    feed = {one.name: mapped(one) if is_external(one) else onnx.numpy_helper.to_array(one) for one in weights}
    return Trial(session, feed)


def fault_of(trial: Trial, indices: Array, expected: Array) -> str | None:
    """What is wrong with what the form gives for some rows; None where it gives exactly what is expected."""
    try:
        found = trial.run(indices)
    except RuntimeError as error:
        return f"onnxruntime cannot run it: {error}"
    if found.shape != expected.shape:
        return f"it gives the shape {list(found.shape)}"
    wrong = np.abs(found - expected).max(initial=0.0)
    return None if wrong == 0 else f"it is off by {wrong:.1e}"


def fastest(trials: Mapping[str, Trial], rows: int, seed: int) -> str:
    """The name of the one whose quickest run over random rows is quickest; they run in turns.

    The first one stays where the others are not clearly quicker, so that the choice is the same each time.
    """
    indices = np.random.default_rng(seed).integers(rows, size=_LOOKUPS)
    taken = {name: [trial.seconds(indices) for _ in range(_WARM_UP)][-1:] for name, trial in trials.items()}
    for _ in range(_TURNS):
        for name, trial in trials.items():
            taken[name].append(trial.seconds(indices))
    quickest = {name: min(seconds) for name, seconds in taken.items()}
    first, best = next(iter(quickest)), min(quickest, key=lambda name: quickest[name])
    return best if quickest[best] < _CLEARLY * quickest[first] else first
