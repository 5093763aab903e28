"""Finding one's way in an ONNX graph: which nodes are dense layers, and which of them come last."""

from collections import Counter
from collections.abc import Iterator

import onnx

DENSE_OPERATORS = ("MatMul", "Gemm")


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, in place: ONNX asks for none, and quantizers choose nodes by name."""
    taken: set[str] = set()
    for position, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{position}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def value_uses(model: onnx.ModelProto) -> Counter[str]:
    """How often each value is read: by nodes, in subgraphs too, and as an output of the graph."""
    uses = Counter(output.name for output in model.graph.output)
    open_graphs = [model.graph]
    while open_graphs:
        for node in open_graphs.pop().node:
            uses.update(node.input)
            for attribute in node.attribute:
                open_graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    return uses


def dense_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that multiply by a weight of the graph, in graph order."""
    weights = {initializer.name for initializer in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type in DENSE_OPERATORS and node.input[1] in weights]


def axis_of_outputs(node: onnx.NodeProto, rank: int) -> int:
    """The axis of a dense node's weight, which has `rank` of them, that its outputs lie along."""
    turned = any(one.name == "transB" and one.i for one in node.attribute)
    return rank - 2 if turned else rank - 1


def last_dense_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The dense nodes from which the score is reached without another dense node on the way.

    Quantizing what they give would leave few distinct scores, and with them mass ties in the ranking.
    """
    dense = {node.output[0]: node for node in dense_nodes(model)}
    return [dense[name] for name in _reached_backwards(model, stop=set(dense)) if name in dense]


def bias_of(model: onnx.ModelProto, node: onnx.NodeProto) -> str | None:
    """Name of the tensor that a dense node, or the Add that alone reads it, adds; None where there is none."""
    stored = {one.name for one in model.graph.initializer}
    if node.op_type == "Gemm":
        return node.input[2] if len(node.input) > 2 and node.input[2] in stored else None
    product = node.output[0]
    if value_uses(model)[product] != 1:
        return None
    for reader in model.graph.node:
        if product in reader.input and reader.op_type == "Add":
            return next((name for name in reader.input if name in stored), None)
    return None


def _reached_backwards(model: onnx.ModelProto, stop: set[str]) -> Iterator[str]:
    """Every value that the outputs depend on, going no further back than the values in `stop`."""
    makers = {output: node for node in model.graph.node for output in node.output}
    open_values = [output.name for output in model.graph.output]
    met = set(open_values)
    while open_values:
        value = open_values.pop()
        yield value
        if value in stop or value not in makers:
            continue
        for source in makers[value].input:
            if source and source not in met:
                met.add(source)
                open_values.append(source)


def remove_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and weights that no output depends on, in place; the inputs stay, as the graph contract asks."""
    while True:
        uses = value_uses(model)
        idle = [at for at, node in enumerate(model.graph.node) if not any(uses[one] for one in node.output)]
        if not idle:
            break
        for position in reversed(idle):
            del model.graph.node[position]
    unread = {one.name for one in model.graph.initializer if not uses[one.name]}
    for field in (model.graph.initializer, model.graph.input):
        for position in reversed([at for at, one in enumerate(field) if one.name in unread]):
            del field[position]
