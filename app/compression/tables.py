"""Embedding tables in an ONNX graph: which there are, what looks them up, and how a technique replaces one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from app.compression.graph import value_uses
from app.compression.index_maps import IndexMap, index_map
from app.encoding import Array
from app.training.weights import is_external, read_rows

CHUNK_BYTES = 1 << 25
# They move indices about and leave every one of them as it is; all but Concat take theirs from the first input.
_KEEPS_INDICES = {
    *(
        "Cast",
        "Identity",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Transpose",
        "Expand",
        "Slice",
        "Split",
    ),
    *("Gather", "Concat"),
}
# What these give says nothing of the values that they are given.
_FORGETS_VALUES = {"Shape", "Size"}


@dataclass(frozen=True)
class Lookup:
    """One `Gather` of rows of a table."""

    indices: str
    """The value that holds the indices, integers of any shape."""
    output: str
    """The value that holds the rows found, [*shape of the indices, dimension]."""
    features: tuple[str, ...]
    """The graph inputs whose indices these are; none where they are computed in any other way."""
    mapped: IndexMap | None = None
    """Where they are computed from one feature's indices, each by itself: how."""

    def value(self, name: str) -> str:
        """A name for a value on the way to `output`, which no other look-up has."""
        return f"{self.output}.{name}"


@dataclass(frozen=True)
class Table:
    """A float32 weight [rows, dimension] that is only ever looked up, by indices that come with a request."""

    tensor: onnx.TensorProto
    lookups: tuple[Lookup, ...]

    @property
    def name(self) -> str:
        """Name of the initializer."""
        return str(self.tensor.name)

    @property
    def rows(self) -> int:
        """Number of rows; row 0 is that of "none or unknown"."""
        return int(self.tensor.dims[0])

    @property
    def dimension(self) -> int:
        """Length of a row."""
        return int(self.tensor.dims[1])

    @property
    def size_bytes(self) -> int:
        """Bytes of the values."""
        return 4 * self.rows * self.dimension

    @property
    def features(self) -> tuple[str, ...]:
        """The graph inputs that look it up; a history looks up the table of its item feature."""
        return tuple(dict.fromkeys(name for lookup in self.lookups for name in lookup.features))

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Rows `start` to `stop` (the end, without it), float32 [stop - start, dimension]."""
        return read_rows(self.tensor, start, self.rows if stop is None else stop)

    def chunks(self, rows: int | None = None) -> Iterator[tuple[int, Array]]:
        """The whole table from its start, some rows at a time: the first row's index, and float32 [rows, dimension].

        By default a chunk has 32 MiB. A table in a file is never in memory as a whole.
        """
        step = rows or max(1, CHUNK_BYTES // (4 * self.dimension))
        # What the graph itself holds is decoded as a whole at each reading.
        whole = None if is_external(self.tensor) else self.read()
        for start in range(0, self.rows, step):
            stop = min(start + step, self.rows)
            yield start, self.read(start, stop) if whole is None else whole[start:stop]


def find_tables(model: onnx.ModelProto) -> list[Table]:
    """Every table of the graph, in the order of its initializers.

    A weight that anything but a `Gather` along axis 0 reads as well (a tied output layer, a subgraph) is none: it would
    have to stay beside what replaces it.
    """
    inputs = _graph_inputs(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    uses = value_uses(model)
    lookups: dict[str, list[Lookup]] = {}
    for node in model.graph.node:
        if node.op_type == "Gather" and _axis(node) == 0:
            features = index_features(node.input[1], makers, inputs)
            if features is not None:
                mapped = None if features else index_map(node.input[1], model)
                found = Lookup(node.input[1], node.output[0], features, mapped)
                lookups.setdefault(node.input[0], []).append(found)
    return [
        Table(tensor, tuple(lookups[tensor.name]))
        for tensor in model.graph.initializer
        if _may_be_a_table(tensor) and uses[tensor.name] == len(lookups.get(tensor.name, ())) > 0
    ]


def replace_table(
    model: onnx.ModelProto,
    table: Table,
    initializers: Sequence[onnx.TensorProto],
    nodes: Callable[[Lookup], Sequence[onnx.NodeProto]],
) -> None:
    """Put other nodes in the place of every look-up of a table, in place.

    `nodes(lookup)` gives nodes that make `lookup.output` from `lookup.indices` and the new initializers. The table is
    removed, from the graph's inputs too, where old graphs list their weights; operator sets that the nodes need are
    imported.
    """
    lookups = {lookup.output: lookup for lookup in table.lookups}
    changed: list[onnx.NodeProto] = []
    for node in model.graph.node:
        lookup = lookups.get(node.output[0]) if node.output else None
        changed += [node] if lookup is None else _named(nodes(lookup))
    del model.graph.node[:]
    model.graph.node.extend(changed)
    for field in (model.graph.initializer, model.graph.input):
        for position in [at for at, one in enumerate(field) if one.name == table.name]:
            del field[position]
    model.graph.initializer.extend(initializers)
    _import_domains(model)


def _graph_inputs(model: onnx.ModelProto) -> set[str]:
    weights = {one.name for one in model.graph.initializer}
    return {one.name for one in model.graph.input} - weights


def _may_be_a_table(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2 and min(tensor.dims) > 0


def _axis(node: onnx.NodeProto) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "axis"), 0)


def index_features(
    indices: str, makers: Mapping[str, onnx.NodeProto], inputs: set[str]
) -> tuple[str, ...] | None:
    """The inputs whose values the indices are; none of them where they are computed; None without any input."""
    kept, found = True, []
    open_values, met = [indices], {indices}
    while open_values:
        value = open_values.pop(0)
        if value in inputs:
            found.append(value)
        node = makers.get(value)
        if node is None or node.op_type in _FORGETS_VALUES:
            continue
        remapped = node.op_type == "Gather" and not {node.input[0]} & (makers.keys() | inputs)
        kept = kept and node.op_type in _KEEPS_INDICES and not remapped
        first_alone = node.op_type in _KEEPS_INDICES - {"Concat"} and not remapped
        sources = node.input[:1] if first_alone else node.input
        open_values += [one for one in dict.fromkeys(sources) if one and one not in met]
        met |= set(sources)
    if not found:
        return None
    return tuple(found) if kept else ()


def _named(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes, each named after what it gives, which is a name that nothing else has."""
    for node in nodes:
        node.name = f"{node.op_type}_{node.output[0]}"
    return list(nodes)


def _import_domains(model: onnx.ModelProto) -> None:
    known = {one.domain for one in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} - known - {"ai.onnx"}):
        model.opset_import.add(domain=domain, version=1)
