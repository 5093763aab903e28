"""Weights that are mostly zero, stored without their zeros: fewer bytes on disk, and the same graph in memory."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper
from pydantic import Field

from app.compression.graph import dense_nodes, last_dense_nodes, value_uses
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.compression.zero_coding import shared_weights, stored_bytes, without_zeros
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.weights import is_external

_KINDS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8}
_OLDEST_OPSET = 11
# Smaller weights are not worth the nodes that make them.
_LEAST_VALUES = 256


class StoreSparseConfig(TechniqueConfig):
    """Which weights become zero before."""

    sparsity: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each dense weight that becomes zero first, the smallest; 0: what is zero already.",
    )


def apply(model: onnx.ModelProto, config: StoreSparseConfig, workshop: Workshop) -> onnx.ModelProto:  # noqa: ARG001
    """The graph whose weights hold no zeros where that is smaller; the layers that give the score stay as they are.

    Raises CompressionFailed when no weight would get smaller, or the graph's operators are too old.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    opset = next(one.version for one in made.opset_import if one.domain in ("", "ai.onnx"))
    if opset < _OLDEST_OPSET:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has version {opset} of ONNX's operators, and needs {_OLDEST_OPSET}"
        )
    dense = {node.input[1] for node in dense_nodes(made)}
    nodes: list[onnx.NodeProto] = []
    for tensor in list(_candidates(made)):
        values: Array = numpy_helper.to_array(tensor)
        if tensor.name in dense and values.dtype == np.float32:
            values = _with_zeros(values, config.sparsity)
        if stored_bytes(values) < values.nbytes:
            weights, some = without_zeros(tensor.name, values)
            made.graph.initializer.remove(tensor)
            made.graph.initializer.extend(weights)
            nodes += some
    if not nodes:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: no weight has zeros enough to be smaller without them: prune_weights comes before it, "
            "or it sets `sparsity` itself"
        )
    made.graph.initializer.extend(shared_weights())
    everything = [*nodes, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(everything)
    return made


def _candidates(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Matrices that the graph holds, besides those of the last layers, tables, and what a caller may replace."""
    last = {source for node in last_dense_nodes(model) for source in node.input}
    inputs = {one.name for one in model.graph.input}
    looked_up = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    uses = value_uses(model)
    for tensor in model.graph.initializer:
        free = tensor.name not in last | inputs | looked_up and uses[tensor.name]
        kind = tensor.data_type in _KINDS and len(tensor.dims) == 2 and not is_external(tensor)
        if free and kind and np.prod(tensor.dims) >= _LEAST_VALUES:
            yield tensor


def _with_zeros(values: Array, sparsity: float) -> Array:
    """The weight with its smallest values at zero; what is zero already counts."""
    count = round(sparsity * values.size)
    if not count:
        return values
    changed: Array = values.copy()
    changed.reshape(-1)[np.argsort(np.abs(values), axis=None, kind="stable")[:count]] = 0
    return changed


TECHNIQUE = Technique(
    name="store_sparse",
    stage="graph",
    config=StoreSparseConfig,
    apply=apply,
    summary="Weights that are mostly zero, stored without their zeros: fewer bytes on disk alone.",
    source="Han et al., Deep Compression, ICLR 2016 (arXiv 1510.00149); a bit for each weight in place of distances",
    needs_rows=False,
)
