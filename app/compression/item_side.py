"""The item side of a graph, cut off: what depends on the item alone need not be computed for every request.

`model.items.onnx` computes from item features what the rest needs of an item; `model.rest.onnx` goes on from there. A
worker runs the first over its catalog once, and for a request only the second: f(user, g(item)). A dense layer over
both sides is cut too: W [u; v] = W_u u + W_v v. The cut is exact, and is tried on real rows before it is kept. Both
graphs point into the weights of the whole one, which stays what it was.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper

from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE, ITEMS_GRAPH_FILE, REST_GRAPH_FILE
from app.compression.folded_layers import fold_layers, view_of
from app.compression.graph import remove_unused
from app.encoding import Array
from app.errors import CompressionFailed
from app.schema import ROW_REQUEST, SCORE, FeatureSchema
from app.training.graph_file import append_weights, read_graph
from app.training.rows import Prepared

TOLERANCE = 1e-5
"""Scores may differ by so much, which is what another order of additions makes of float32."""
MOST_GROWTH = 0.25
"""Slices of the weights of a layer over both sides may take so much of what all weights take."""
_TRIALS = ((1, 1), (1, 100), (3, 17))
"""Requests and candidates of the runs that are compared."""
_REQUESTS, _ITEMS = 100, 1000
"""How many of each they are drawn from."""


@dataclass(frozen=True)
class Trial:
    """What a cut is tried on: request features [some, ...] and item features [some, ...]."""

    requests: Mapping[str, Array]
    items: Mapping[str, Array]


def trial_of(prepared: Prepared, schema: FeatureSchema) -> Trial:
    """Real ones, of training rows and of the catalog."""
    chosen = np.random.default_rng(0).integers(len(prepared.train), size=_REQUESTS)
    values = prepared.train.inputs(chosen)
    requests = {feature.name: values[feature.name] for feature in schema.request_features}
    return Trial(requests, {name: values[:_ITEMS] for name, values in prepared.train.items.items()})


def cut_item_side(folder: Path, schema: FeatureSchema, trial: Trial) -> str | None:
    """Write both graphs beside the whole one; where that is not possible, the reason why, and no file."""
    data = folder / GRAPH_DATA_FILE
    data_bytes = data.stat().st_size
    try:
        reason = _why_not(folder, schema, trial)
    except Exception as error:  # noqa: BLE001 - a graph may be anything; it can be served whole, and the log says why
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if reason is None:
        return None
    for name in (ITEMS_GRAPH_FILE, REST_GRAPH_FILE):
        (folder / name).unlink(missing_ok=True)
    os.truncate(data, data_bytes)
    return reason


def _why_not(folder: Path, schema: FeatureSchema, trial: Trial) -> str | None:
    model = _with_sides_apart(folder, schema)
    if not _cut(folder, model, {feature.name for feature in schema.item_features}, trial.items):
        return "nothing, or everything, is computed from item features alone"
    difference = _largest_difference(folder, trial)
    if difference <= TOLERANCE:
        return None
    return f"scores would differ by {difference:.2g}: what is computed of an item depends on the others"


def _with_sides_apart(folder: Path, schema: FeatureSchema) -> onnx.ModelProto:
    """The graph, in which a dense layer over both sides is the sum of one over each; weights are where they were.

    The slices of such a layer's weights come behind the others. Where they would be too many, the layer stays.
    """
    light = onnx.load(folder / GRAPH_FILE, load_external_data=False)
    model = read_graph(folder / GRAPH_FILE)
    if not fold_layers(model, view_of(model, schema, max_growth=0), lambda folding: folding.changes > 0):
        return light
    stored = {one.name: one for one in light.graph.initializer}
    slices = [one for one in model.graph.initializer if one.name not in stored]
    if sum(len(one.raw_data) for one in slices) > MOST_GROWTH * (folder / GRAPH_DATA_FILE).stat().st_size:
        return light
    for one in model.graph.initializer:
        if one.name in stored:
            one.CopyFrom(stored[one.name])
    append_weights(slices, folder)
    return model


def _cut(folder: Path, model: onnx.ModelProto, names: set[str], items: Mapping[str, Array]) -> bool:
    """Write the two graphs, where the item side computes anything. Nodes that give no value per item stay behind."""
    stays: set[str] = set()
    while True:
        of_items = _depends_on_items_alone(model, names, stays)
        border = _border(model, of_items)
        if not border or SCORE in border:  # nothing is of the item alone, or everything
            return False
        _write(folder / ITEMS_GRAPH_FILE, _items_graph(model, border))
        session = _Session(folder / ITEMS_GRAPH_FILE)
        few, more = (session.run(_some(items, rows)) for rows in (2, 3))
        unfit = {name for name in border if not _is_per_item(few[name], more[name])}
        if not unfit:
            _write(folder / REST_GRAPH_FILE, _rest_graph(model, of_items, {n: more[n] for n in border}))
            return True
        stays |= unfit


def _some(items: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """So many items, the first ones again where there are fewer."""
    chosen = np.arange(rows) % _length(items)
    return {name: values[chosen] for name, values in items.items()}


def _is_per_item(few: Array, more: Array) -> bool:
    """Whether a value of 2 and one of 3 items are arrays with one row for each; a sequence, for one, is none."""
    arrays = isinstance(few, np.ndarray) and isinstance(more, np.ndarray)
    return arrays and few.shape[:1] == (2,) and more.shape == (3, *few.shape[1:])


def _depends_on_items_alone(model: onnx.ModelProto, names: set[str], stays: set[str]) -> set[str]:
    """The values computed from item features and weights and nothing else, without those in `stays`."""
    constant = {"", *(one.name for one in model.graph.initializer)}  # an input that is left out has no name
    constant.update(one.values.name for one in model.graph.sparse_initializer)
    found = set(names)
    for node in model.graph.node:
        reads = set(_reads(node))
        if reads <= constant:
            constant.update(node.output)
        elif reads <= constant | found and not stays & set(node.output):
            found.update(node.output)
    return found - names - {""}  # an output that is left out has no name


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, its subgraphs included; names made inside them count too, which only makes it stay behind."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (one.name for one in graph.output)


def _border(model: onnx.ModelProto, of_items: set[str]) -> list[str]:
    """Values of the item side that the rest reads, in graph order."""
    outputs = {one.name for one in model.graph.output}
    read = set(outputs)
    for node in model.graph.node:
        if not of_items & set(node.output):
            read.update(_reads(node))
    return [name for node in model.graph.node for name in node.output if name in of_items & read]


def _items_graph(model: onnx.ModelProto, border: list[str]) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in border)
    return _without_idle(part)


def _rest_graph(model: onnx.ModelProto, of_items: set[str], border: Mapping[str, Array]) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    for position in reversed(range(len(part.graph.node))):
        if of_items & set(part.graph.node[position].output):
            del part.graph.node[position]
    for name, values in border.items():
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        shape = ["num_candidates", *values.shape[1:]]
        part.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    return _without_idle(part)


def _without_idle(part: onnx.ModelProto) -> onnx.ModelProto:
    """Without nodes, weights and inputs that its outputs do not depend on."""
    remove_unused(part)
    read = {name for node in part.graph.node for name in _reads(node)}
    for position in reversed([at for at, one in enumerate(part.graph.input) if one.name not in read]):
        del part.graph.input[position]
    del part.graph.value_info[:]
    return part


def _write(path: Path, model: onnx.ModelProto) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))


class _Session:
    """A graph on disk, to be run a few times."""

    def __init__(self, path: Path) -> None:
        self._path = path
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        with self._told():
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name. Raises CompressionFailed."""
        with self._told():
            found = self._session.run(self._outputs, {name: inputs[name] for name in self._inputs})
        return dict(zip(self._outputs, found, strict=True))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            reason = str(error).splitlines()[0].replace(f"{self._path.parent}/", "")
            raise CompressionFailed(f"onnxruntime cannot run a part of the graph: {reason}") from error


def _largest_difference(folder: Path, trial: Trial) -> float:
    """Between the scores of the whole graph and those of its parts."""
    items, rest, whole = (_Session(folder / name) for name in (ITEMS_GRAPH_FILE, REST_GRAPH_FILE, GRAPH_FILE))
    of_items = items.run(trial.items)
    random = np.random.default_rng(0)
    worst = 0.0
    for requests, rows in _TRIALS:
        of_request = random.integers(_length(trial.requests), size=requests)
        chosen = random.integers(_length(trial.items), size=rows)
        asked = {name: values[of_request] for name, values in trial.requests.items()}
        asked |= {name: values[chosen] for name, values in trial.items.items()}
        asked[ROW_REQUEST] = np.sort(random.integers(requests, size=rows))
        beforehand = {name: values[chosen] for name, values in of_items.items()}
        wanted, found = whole.run(asked)[SCORE], rest.run(asked | beforehand)[SCORE]
        if wanted.shape != found.shape:
            return math.inf
        difference = wanted - found
        worst = float(np.maximum(worst, np.abs(difference).max()))  # a score that is no number stays one
    return worst


def _length(values: Mapping[str, Array]) -> int:
    return len(next(iter(values.values()))) if values else 1
