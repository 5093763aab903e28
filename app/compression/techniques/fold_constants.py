"""What does not depend on a request is computed once, beforehand: an exact rewrite of graphs that were not tidied."""

import onnx
from onnxscript import ir
from onnxscript.optimizer import optimize_ir
from pydantic import Field

from app.compression.batch_norms import fold_batch_norms
from app.compression.graph import remove_unused
from app.compression.technique import Technique, TechniqueConfig
from app.compression.weights_aside import put_back, set_aside
from app.compression.workshop import Workshop
from app.errors import CompressionFailed

# Numbers of the largest weight that is computed with.
_MOST_NUMBERS = 1 << 26


class FoldConstantsConfig(TechniqueConfig):
    """What is computed beforehand."""

    largest: int = Field(
        default=4096,
        ge=1,
        le=1 << 26,
        description="Most numbers of a constant that is larger than what it is computed from.",
    )


def apply(model: onnx.ModelProto, config: FoldConstantsConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with fewer nodes; scores differ by rounding alone.

    Raises CompressionFailed when there is nothing that could be computed beforehand.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    aside = set_aside(copy)
    loaded = ir.serde.deserialize_model(copy)
    optimize_ir(
        loaded,
        input_size_limit=_MOST_NUMBERS,
        output_size_limit=config.largest,
        should_fold=_stays_small,
    )
    made = _tidied(ir.serde.serialize_model(loaded))
    put_back(made, aside)
    fold_batch_norms(made, workshop.encoder.schema)
    remove_unused(made)
    if len(made.graph.node) >= len(model.graph.node):
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has nothing that could be computed beforehand; leave the step out"
        )
    return made


def _stays_small(node: ir.Node) -> bool | None:
    """False for what turns stored integers into floats: to compute it beforehand would undo a quantization."""
    stored = node.inputs[0].const_value if node.op_type == "Cast" and node.inputs[0] is not None else None
    if stored is None or stored.size == 1:
        return None  # the library's own rules, which leave QuantizeLinear and DequantizeLinear as they are
    target = ir.DataType(node.attributes["to"].as_int())
    return False if target.bitwidth > stored.dtype.bitwidth and target.is_floating_point() else None


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the library notes of its work: where a constant came from, and shapes that later steps change."""
    graph = model.graph
    del graph.value_info[:]
    for one in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del one.metadata_props[:]
    return model


TECHNIQUE = Technique(
    name="fold_constants",
    stage="graph",
    config=FoldConstantsConfig,
    apply=apply,
    summary="Constant expressions computed beforehand, and batch normalization as part of dense layers: exact.",
    source="onnxscript's optimizer; batch normalization: Ioffe and Szegedy, 2015 (arXiv 1502.03167)",
    needs_rows=False,
)
