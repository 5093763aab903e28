"""Affine integers: codes that turn back exactly, ranges that are shared as told, and two ways to unpack them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from app.compression.affine import affine
from app.compression.graph import dense_nodes, last_dense_nodes
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Prepared
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import helper, numpy_helper

from tests.compression.parts import a_graph, edited, scorer_of, set_weight, weights
from tests.compression.test_quantizers import operators, quantize

matrices = arrays(np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e4, 1e4, width=32))
forms = pytest.mark.parametrize(
    ("per_channel", "symmetric"), [(True, True), (True, False), (False, True), (False, False)]
)


@given(matrices, st.sampled_from([None, 0, 1]), st.booleans())
def test_no_value_is_off_by_more_than_half_a_scale_and_zero_is_exact(
    values: Array, axis: int | None, symmetric: bool
) -> None:
    made = affine(values, axis, symmetric=symmetric)
    # The zero point is rounded too, so an end of the range may be cut off by another half.
    allowed = (0.5 if symmetric else 1.0) * 1.001 * made.scale + 1e-30
    assert (np.abs(made.values() - values) <= allowed).all()
    assert (made.values()[values == 0] == 0).all()
    again = affine(made.values(), axis, symmetric=symmetric).values()
    np.testing.assert_allclose(again, made.values(), atol=float(made.scale.max()) * 1.001)


def test_a_zero_point_uses_all_codes_and_a_symmetric_range_does_not() -> None:
    values = np.linspace(1, 3, 100, dtype=np.float32).reshape(10, 10) - 1.5
    assert np.ptp(affine(values, None, symmetric=False).codes.astype(int)) == 255
    assert np.ptp(affine(values, None, symmetric=True).codes.astype(int)) < 255
    errors = [np.abs(affine(values, None, symmetric=one).values() - values).max() for one in (True, False)]
    assert errors[1] < errors[0]


def layers(graph: onnx.ModelProto) -> list[str]:
    last = {node.input[1] for node in last_dense_nodes(graph)}
    return [node.input[1] for node in dense_nodes(graph) if node.input[1] not in last]


@forms
def test_every_dense_weight_but_the_last_ones_is_stored_in_8_bits(
    graph: onnx.ModelProto, workshop: Workshop, *, per_channel: bool, symmetric: bool
) -> None:
    made = weights(quantize(graph, "quantize_affine", workshop, per_channel=per_channel, symmetric=symmetric))
    assert len(layers(graph)) >= 6
    for name in layers(graph):
        before = weights(graph)[name]
        assert made[f"{name}_codes"].dtype == (np.int8 if symmetric else np.uint8)
        assert made[f"{name}_scale"].size == (len(before) if per_channel else 1)
        values = (made[f"{name}_codes"] - made[f"{name}_zero"]) * made[f"{name}_scale"]
        np.testing.assert_allclose(values, before, atol=float(made[f"{name}_scale"].max()) * 1.001)


@forms
def test_both_ways_to_unpack_give_the_scores_of_the_values_that_are_stored(
    graph: onnx.ModelProto,
    workshop: Workshop,
    prepared: Prepared,
    tmp_path: Path,
    *,
    per_channel: bool,
    symmetric: bool,
) -> None:
    def rounded(copy: onnx.ModelProto) -> None:
        for name in layers(graph):
            values = weights(graph)[name]
            set_weight(copy, name, affine(values, 0 if per_channel else None, symmetric=symmetric).values())

    settings = {"per_channel": per_channel, "symmetric": symmetric}
    graphs = [edited(graph, rounded)]
    graphs += [
        quantize(graph, "quantize_affine", workshop, unpack=one, **settings) for one in ("load", "run")
    ]
    expected, *found = (
        scorer_of(one, tmp_path / str(n)).score_rows(prepared.test) for n, one in enumerate(graphs)
    )
    for scores in found:
        np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize(("unpack", "left"), [("load", 0), ("run", 8)])
def test_codes_are_unpacked_once_or_at_every_run(
    graph: onnx.ModelProto, workshop: Workshop, tmp_path: Path, unpack: str, left: int
) -> None:
    made = quantize(graph, "quantize_affine", workshop, unpack=unpack)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kept = operators(onnx.load(tmp_path / "optimized.onnx"))
    assert kept.count("DequantizeLinear") == left
    assert len(kept) - left <= len(graph.graph.node), "nothing else is left to do at a run"


def test_a_matmul_has_its_outputs_along_the_other_axis(workshop: Workshop) -> None:
    values = {"w": np.diag([1.0, 10, 100, 1000]), "v": np.ones((4, 1))}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "v"], ["score"])]
    made = weights(quantize(a_graph(nodes, values), "quantize_affine", workshop))
    np.testing.assert_allclose(made["w_scale"], [[1 / 255, 10 / 255, 100 / 255, 1000 / 255]], rtol=1e-6)


def test_what_it_cannot_quantize_is_refused(workshop: Workshop) -> None:
    single = a_graph([helper.make_node("MatMul", ["x", "w"], ["score"])], {"w": np.ones((4, 1))})
    with pytest.raises(
        CompressionFailed, match="quantize_affine: the graph has no dense layer to quantize besides"
    ):
        quantize(single, "quantize_affine", workshop)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "v"], ["score"])]
    wide = a_graph(nodes, {"w": np.ones((4, 4)), "v": np.ones((4, 1))})
    wide.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 4)), "w"))
    with pytest.raises(CompressionFailed, match="quantize_affine: w is not float32"):
        quantize(wide, "quantize_affine", workshop)
