"""Tables multiplied by the first layer beforehand: an exact rewrite that turns products into look-ups and sums."""

import onnx
from pydantic import Field

from app.compression.folding import Folding, View, linear
from app.compression.graph import dense_nodes, last_dense_nodes, remove_unused
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.errors import CompressionFailed


class FoldTablesConfig(TechniqueConfig):
    """Which tables are worth their bytes."""

    max_growth: float = Field(
        default=8.0,
        ge=0,
        le=1024,
        description="A table is folded into a layer of at most this many times its dimension; 0 folds none.",
    )


def apply(model: onnx.ModelProto, config: FoldTablesConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with dense layers as sums of what each field adds; scores differ by rounding alone.

    Raises CompressionFailed when no layer can be rewritten.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    view = _view(copy, config, workshop)
    last = {node.output[0] for node in last_dense_nodes(copy)}
    folded: dict[str, Folding] = {}
    for node in dense_nodes(copy):
        layer = linear(node, view)
        # The layers that give the score stay recognizable: later steps must leave them in float.
        if layer is not None and node.output[0] not in last:
            folding = Folding(view, node.output[0])
            folding.fold(layer)
            if folding.changes:
                folded[node.output[0]] = folding
    if not folded:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has no dense layer over float32 tables, numbers or values of the request "
            "that could be rewritten; it comes before steps that quantize them, and `max_growth` bounds the tables"
        )
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        found = folded.get(node.output[0]) if node.output else None
        nodes += [node] if found is None else found.nodes
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    for found in folded.values():
        copy.graph.initializer.extend(found.initializers)
    remove_unused(copy)
    return copy


def _view(model: onnx.ModelProto, config: FoldTablesConfig, workshop: Workshop) -> View:
    weights = {one.name: one for one in model.graph.initializer}
    shapes = {}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*inferred.value_info, *inferred.input):
        if value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(one.dim_value if one.HasField("dim_value") else None for one in sizes)
    schema = workshop.encoder.schema
    return View(
        makers={output: node for node in model.graph.node for output in node.output},
        weights=weights,
        inputs=frozenset(one.name for one in model.graph.input) - weights.keys(),
        per_candidate=frozenset(one.name for one in schema.features if one.per_candidate),
        shapes=shapes,
        max_growth=config.max_growth,
    )


TECHNIQUE = Technique(
    name="fold_tables",
    stage="graph",
    config=FoldTablesConfig,
    apply=apply,
    summary="Item tables multiplied by the first layer beforehand, and request values once per request: exact.",
    source="W [a; b] = W_a a + W_b b",
    needs_rows=False,
)
