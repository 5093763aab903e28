"""Every dense layer of a graph but the last ones as a sum, where that is worth it."""

import math
from collections.abc import Callable

import onnx

from app.compression.folding import Folding, View, linear
from app.compression.graph import dense_nodes, last_dense_nodes, remove_unused
from app.schema import FeatureSchema


def view_of(
    model: onnx.ModelProto, schema: FeatureSchema, max_growth: float, max_spread: float = math.inf
) -> View:
    """What is known of a graph: its weights, and the shapes that follow from its inputs."""
    weights = {one.name: one for one in model.graph.initializer}
    shapes = {}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*inferred.value_info, *inferred.input):
        if value.type.tensor_type.HasField("shape"):
            sizes = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(one.dim_value if one.HasField("dim_value") else None for one in sizes)
    return View(
        makers={output: node for node in model.graph.node for output in node.output},
        weights=weights,
        inputs=frozenset(one.name for one in model.graph.input) - weights.keys(),
        per_candidate=frozenset(one.name for one in schema.features if one.per_candidate),
        shapes=shapes,
        max_growth=max_growth,
        max_spread=max_spread,
    )


def fold_layers(model: onnx.ModelProto, view: View, wanted: Callable[[Folding], bool]) -> bool:
    """Put sums in the place of the layers whose folding is wanted, in place; gives whether there was any."""
    last = {node.output[0] for node in last_dense_nodes(model)}
    folded: dict[str, Folding] = {}
    for node in dense_nodes(model):
        layer = linear(node, view)
        # The layers that give the score stay recognizable: later steps must leave them in float.
        if layer is not None and node.output[0] not in last:
            folding = Folding(view, node.output[0])
            folding.fold(layer)
            if wanted(folding):
                folded[node.output[0]] = folding
    if not folded:
        return False
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        found = folded.get(node.output[0]) if node.output else None
        nodes += [node] if found is None else found.nodes
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for found in folded.values():
        model.graph.initializer.extend(found.initializers)
    remove_unused(model)
    return True
