"""Values inside a graph, and single layers of it: what steps that measure look at."""

from collections.abc import Mapping, Sequence

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from app.compression.graph import remove_unused, value_uses
from app.compression.weights_aside import mapped_weights, set_aside
from app.encoding import Array
from app.errors import CompressionFailed


class Probe:
    """A session over a graph in memory, with one thread, that gives any of its float32 values.

    Only what they depend on is run. Weights in files are read where they are. Raises CompressionFailed when onnxruntime
    cannot load or run the graph.
    """

    def __init__(self, model: onnx.ModelProto, values: Sequence[str]) -> None:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        self._weights = mapped_weights(copy)
        set_aside(copy)
        self.values = list(values)
        del copy.graph.output[:]
        copy.graph.output.extend(_float(name) for name in self.values)
        remove_unused(copy)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise CompressionFailed(f"onnxruntime cannot load the graph: {_first_line(error)}") from error
        self._wanted = {one.name for one in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The values by name; inputs that they do not depend on may be given too."""
        feed = {name: one for name, one in {**inputs, **self._weights}.items() if name in self._wanted}
        try:
            found = self._session.run(self.values, feed)
        except Exception as error:
            raise CompressionFailed(f"onnxruntime cannot run the graph: {_first_line(error)}") from error
        return dict(zip(self.values, found, strict=True))


def between(model: onnx.ModelProto, source: str, target: str) -> onnx.ModelProto:
    """The part of a graph that makes the value `target` from the value `source`, which is its input; both float32."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [node for node in copy.graph.node if source not in node.output]
    inputs = [one for one in copy.graph.input if one.name != source]
    for field, content in ((copy.graph.node, kept), (copy.graph.input, [*inputs, _float(source)])):
        del field[:]
        field.extend(content)
    del copy.graph.output[:]
    copy.graph.output.append(_float(target))
    remove_unused(copy)
    uses = value_uses(copy)
    read = [one for one in copy.graph.input if uses[one.name]]
    del copy.graph.input[:]
    copy.graph.input.extend(read)
    return copy


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
