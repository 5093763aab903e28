"""What is computed beforehand, batch normalization in dense layers, and what must stay as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from app.compression.graph import dense_nodes
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.graph_file import check_contract, read_graph
from app.training.rows import Prepared
from app.training.weights import is_external
from onnx import TensorProto, helper

from tests.compression.parts import READY_CARD, a_graph, edited, ready_model, scorer_of, weights
from tests.small_model import SmallModel

FOLD = techniques()["fold_constants"]
INPUTS = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
_RNG = np.random.default_rng(1)
NORM = {
    name: (low + _RNG.random(4)).astype(np.float32)
    for name, low in {"scale": 0.5, "offset": -0.5, "mean": -0.5, "variance": 0.5}.items()
}
WEIGHTS: dict[str, Any] = {
    **NORM,
    "w": _RNG.standard_normal((4, 4)),
    "b": _RNG.standard_normal(4),
    "v": _RNG.standard_normal((4, 1)),
}


def node(kind: str, sources: Sequence[str], target: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, sources, [target], **attributes)


def norm(source: str, target: str, **attributes: Any) -> onnx.NodeProto:
    return node("BatchNormalization", [source, *NORM], target, epsilon=0.01, **attributes)


def with_score(nodes: Sequence[onnx.NodeProto], last: str = "y", **more: Any) -> onnx.ModelProto:
    """From `x` by the nodes to `y` [rows, 4], and from there to the score."""
    end = [node("MatMul", [last, "v"], "logits"), node("Sigmoid", ["logits"], "scores")]
    return a_graph([*nodes, *end, node("Squeeze", ["scores"], "score")], WEIGHTS | more)


def fold(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    made: onnx.ModelProto = FOLD.apply(graph, FOLD.configure(settings, "a test"), workshop)
    return made


def scores(graph: onnx.ModelProto) -> Array:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(["score"], {"x": INPUTS})[0]
    return found


def kinds(graph: onnx.ModelProto) -> list[str]:
    return [one.op_type for one in graph.graph.node]


PLACES: dict[str, list[onnx.NodeProto]] = {
    "after a Gemm": [
        node("Gemm", ["x", "w", "b"], "h", transB=1),
        norm("h", "n"),
        node("Relu", ["n"], "y"),
    ],
    "after a MatMul": [node("MatMul", ["x", "w"], "h"), norm("h", "n"), node("Relu", ["n"], "y")],
    "after a MatMul and an Add": [
        node("MatMul", ["x", "w"], "p"),
        node("Add", ["b", "p"], "h"),
        norm("h", "n"),
        node("Relu", ["n"], "y"),
    ],
    "before a Gemm": [
        norm("x", "n"),
        node("Gemm", ["n", "w", "b"], "h"),
        node("Relu", ["h"], "y"),
    ],
    "before a MatMul": [
        node("Relu", ["x"], "r"),
        norm("r", "n"),
        node("MatMul", ["n", "w"], "h"),
        node("Relu", ["h"], "y"),
    ],
    "before two layers": [
        norm("x", "n"),
        node("Gemm", ["n", "w", "b"], "h"),
        node("MatMul", ["n", "w"], "g"),
        node("Mul", ["h", "g"], "y"),
    ],
    "between two layers": [
        node("Gemm", ["x", "w", "b"], "h"),
        norm("h", "n"),
        node("MatMul", ["n", "w"], "g"),
        node("Relu", ["g"], "y"),
    ],
}


@pytest.mark.parametrize("place", PLACES)
def test_batch_normalization_becomes_part_of_a_dense_layer(workshop: Workshop, place: str) -> None:
    graph = with_score(PLACES[place])
    made = fold(graph, workshop)
    onnx.checker.check_model(made, full_check=True)
    assert "BatchNormalization" not in kinds(made)
    assert not NORM.keys() & weights(made).keys()
    assert len(dense_nodes(made)) == len(dense_nodes(graph))
    assert scores(graph).std() > 0.05
    np.testing.assert_allclose(scores(made), scores(graph), rtol=0, atol=1e-6)


STAYS: dict[str, list[onnx.NodeProto]] = {
    "something else reads the layer": [
        node("Gemm", ["x", "w", "b"], "h"),
        norm("h", "n"),
        node("Add", ["n", "h"], "y"),
    ],
    "something else reads the normalized": [
        norm("x", "n"),
        node("Gemm", ["n", "w", "b"], "h"),
        node("Add", ["n", "h"], "y"),
    ],
    "no dense layer is beside it": [node("Relu", ["x"], "r"), norm("r", "n"), node("Relu", ["n"], "y")],
    "its numbers are not fixed": [
        node("Gemm", ["x", "w", "b"], "h"),
        node("ReduceMean", ["h"], "m", keepdims=0),
        node("Add", ["mean", "m"], "moved"),
        node("BatchNormalization", ["h", "scale", "offset", "moved", "variance"], "n"),
        node("Relu", ["n"], "y"),
    ],
}


@pytest.mark.parametrize("why", STAYS)
def test_batch_normalization_stays_where(workshop: Workshop, why: str) -> None:
    graph = with_score([*STAYS[why], node("Identity", ["y"], "z")], last="z")
    made = fold(graph, workshop)
    assert kinds(made).count("BatchNormalization") == 1
    np.testing.assert_allclose(scores(made), scores(graph), rtol=0, atol=1e-6)


def test_channels_that_are_not_last_are_left_alone(workshop: Workshop) -> None:
    """Over [rows, 4, 4] the second dimension is normalized, and a dense layer multiplies the third."""
    nodes = [
        node("Mul", ["x", "column"], "wide"),
        node("MatMul", ["wide", "w"], "h"),
        norm("h", "n"),
        node("ReduceSum", ["n"], "s", keepdims=0, noop_with_empty_axes=0),
        node("Add", ["x", "s"], "y"),
        node("Identity", ["y"], "z"),
    ]
    graph = with_score(nodes, last="z", column=np.ones((4, 1)))
    for one in graph.graph.node:
        if one.op_type == "Mul":
            one.input[:] = ["stacked", "column"]
    graph.graph.node.insert(0, node("Unsqueeze", ["x", "axis"], "stacked"))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axis"))
    made = fold(graph, workshop)
    assert "BatchNormalization" in kinds(made)
    np.testing.assert_allclose(scores(made), scores(graph), rtol=0, atol=1e-6)


def test_what_depends_on_no_input_is_computed_and_what_is_equal_is_computed_once(workshop: Workshop) -> None:
    nodes = [
        node("Transpose", ["w"], "t", perm=[1, 0]),
        node("Mul", ["t", "b"], "product"),
        node("Exp", ["x"], "e"),
        node("Exp", ["x"], "again"),
        node("MatMul", ["e", "product"], "h"),
        node("MatMul", ["again", "product"], "g"),
        node("Add", ["h", "g"], "y"),
    ]
    graph = with_score(nodes)
    made = fold(graph, workshop)
    onnx.checker.check_model(made, full_check=True)
    assert kinds(made).count("Exp") == 1
    assert not {"Transpose", "Mul"} & set(kinds(made))
    np.testing.assert_allclose(scores(made), scores(graph), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("largest", "folds"), [(4096, False), (100_000, True)])
def test_constants_that_would_grow_are_bounded(workshop: Workshop, largest: int, *, folds: bool) -> None:
    nodes = [
        node("Tile", ["b", "times"], "long"),
        node("ReduceMean", ["long"], "mean_of_all", keepdims=1),
        node("Add", ["x", "mean_of_all"], "h"),
        node("Identity", ["h"], "y"),
    ]
    graph = with_score(nodes)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2000]), "times"))
    made = fold(graph, workshop, largest=largest)
    assert ("Tile" not in kinds(made)) == folds
    np.testing.assert_allclose(scores(made), scores(graph), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["quantize_linear", "quantize_static", "quantize_tables"])
def test_what_was_quantized_stays_so(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path, name: str
) -> None:
    settings: dict[str, Any] = {
        "quantize_static": {"rows": 300},
        "quantize_tables": {"encoding": "standard", "min_rows": 100},
    }
    technique = techniques()[name]
    small = technique.apply(graph, technique.configure(settings.get(name, {}), "a test"), workshop)
    untidy = edited(small, _with_identity)
    made = fold(untidy, workshop)
    stored, before = ({one.nbytes for one in weights(which).values()} for which in (made, small))
    assert max(stored) <= max(before)
    assert sum(one.nbytes for one in weights(made).values()) < 1.01 * sum(
        one.nbytes for one in weights(small).values()
    )
    ours, theirs = (
        scorer_of(one, tmp_path / str(at)).score_rows(prepared.validation)
        for at, one in enumerate((made, small))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def _with_identity(copy: onnx.ModelProto) -> None:
    (last,) = (one for one in copy.graph.node if "score" in one.output)
    last.output[0] = "before"
    copy.graph.node.append(node("Identity", ["before"], "score"))


def test_an_exported_graph_has_nothing_left(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(
        CompressionFailed, match="has nothing that could be computed beforehand; leave the step out"
    ):
        fold(graph, workshop)


def test_weights_in_files_stay_there(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    untidy = edited(graph, _with_identity)
    scorer_of(untidy, tmp_path / "graph")
    on_disk = read_graph(tmp_path / "graph" / "model.onnx", large_bytes=4000)
    aside = {one.name: one for one in on_disk.graph.initializer if is_external(one)}
    assert aside
    made = fold(on_disk, workshop)
    assert {one.name: one for one in made.graph.initializer if is_external(one)} == aside
    check_contract(made, workshop.encoder.schema)
    ours, theirs = (
        scorer_of(one, tmp_path / str(at)).score_rows(prepared.validation)
        for at, one in enumerate((made, graph))
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_ready_graph_with_batch_normalization_gets_its_verdict(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    def change(copy: onnx.ModelProto) -> None:
        relu = [one for one in copy.graph.node if one.op_type == "Relu"][-1]
        layer = next(one for one in copy.graph.node if relu.input[0] in one.output)
        assert layer.op_type == "Gemm"
        for name, values in NORM.items():
            wide = np.resize(values, weights(copy)[layer.input[2]].shape)
            copy.graph.initializer.append(onnx.numpy_helper.from_array(wide, name))
        place = list(copy.graph.node).index(layer) + 1
        copy.graph.node.insert(place, norm(relu.input[0], "normalized"))
        relu.input[0] = "normalized"

    card = READY_CARD[: READY_CARD.index("[[recipes]]")] + (
        '[[recipes]]\nname = "plain"\nsteps = [{ technique = "fold_constants" }]\n'
        '[[recipes]]\nname = "small"\nsteps = [{ technique = "fold_constants" }, { technique = "factor_dense" }]\n'
    )
    model = ready_model(small_model, edited(graph, change), tmp_path, card)
    baseline, plain, small = model.compress()
    assert baseline.outcome == "baseline"
    assert {plain.outcome, small.outcome} <= {"passed", "rejected"}
    versions = model.store.active("clicks").state.versions
    made = onnx.load(model.store.folder("clicks", "plain", versions["plain"]) / "model.onnx")
    assert "BatchNormalization" not in kinds(made)
    assert {one.data_type for one in made.graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
