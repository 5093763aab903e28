"""Weights without zeros: exact, smaller, and whole again in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from app.compression.graph import last_dense_nodes
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.compression.zero_coding import BITS, shared_weights, stored_bytes, without_zeros
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Prepared
from onnx import helper, numpy_helper

from tests.compression.parts import a_graph, edited, scorer_of, set_weight, weights

STORE = techniques()["store_sparse"]


def store(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    made: onnx.ModelProto = STORE.apply(graph, STORE.configure(settings, "a test"), workshop)
    return made


def with_zeros(graph: onnx.ModelProto, share: float) -> onnx.ModelProto:
    """The graph with zeros in its larger matrices, as pruning leaves them."""

    def change(copy: onnx.ModelProto) -> None:
        rng = np.random.default_rng(0)
        last = {node.input[1] for node in last_dense_nodes(copy)}
        for name, values in weights(copy).items():
            if values.dtype == np.float32 and values.ndim == 2 and name not in last:
                set_weight(copy, name, values * (rng.random(values.shape) >= share))

    return edited(graph, change)


def values_of(model: onnx.ModelProto, name: str) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    found: Array = ort.InferenceSession(model.SerializeToString(), options).run([name], {})[0]
    return found


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (37, 100)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
def test_a_weight_comes_back_as_it_was(shape: tuple[int, int], dtype: type, share: float) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=shape) * 20 * (rng.random(shape) >= share)).astype(dtype)
    tensors, nodes = without_zeros("weight", values)
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    whole = helper.make_tensor_value_info("weight", kind, shape)
    graph = helper.make_graph(nodes, "g", [], [whole], [*tensors, *shared_weights()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    found = values_of(model, "weight")
    assert (found.dtype, found.shape) == (values.dtype, shape)
    assert found.tolist() == (values + values.dtype.type(0)).tolist()
    stored = sum(
        numpy_helper.to_array(one).nbytes for one in tensors if one.name.endswith(("mask", "values"))
    )
    assert stored == stored_bytes(values)


def test_scores_are_the_same_and_the_weights_smaller(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    sparse = with_zeros(graph, 0.9)
    made = store(sparse, workshop)
    ours, theirs = (
        scorer_of(one, tmp_path / name).score_rows(prepared.test)
        for name, one in (("made", made), ("sparse", sparse))
    )
    assert ours.tolist() == theirs.tolist()
    before, after = weights(sparse), weights(made)
    gone = sorted(before.keys() - after.keys())
    assert gone
    for name in gone:
        assert after[f"{name}.mask"].nbytes + after[f"{name}.values"].nbytes < 0.2 * before[name].nbytes


def test_onnxruntime_makes_the_whole_weights_once_when_it_loads_the_graph(
    graph: onnx.ModelProto, workshop: Workshop, tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    made = store(with_zeros(graph, 0.9), workshop)
    assert "CumSum" in {node.op_type for node in made.graph.node}
    ort.InferenceSession(made.SerializeToString(), options)
    assert "CumSum" not in {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}


def test_int8_weights_are_stored_without_zeros_too(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    static = techniques()["quantize_static"]
    config = static.configure({"rows": 300}, "a test")
    quantized = static.apply(with_zeros(graph, 0.9), config, workshop)
    made = store(quantized, workshop)
    assert [
        one for one in weights(made).values() if one.dtype == np.int8 and one.ndim == 1 and one.size > 100
    ]
    ours, theirs = (
        scorer_of(one, tmp_path / name).score_rows(prepared.test)
        for name, one in (("made", made), ("quantized", quantized))
    )
    assert ours.tolist() == theirs.tolist()


def test_it_zeroes_the_smallest_of_each_dense_weight_where_it_is_asked_to(
    graph: onnx.ModelProto, workshop: Workshop
) -> None:
    made, before = weights(store(graph, workshop, sparsity=0.75)), weights(graph)
    masks = {name.removesuffix(".mask"): values for name, values in made.items() if name.endswith(".mask")}
    for name, packed in masks.items():
        stays = np.unpackbits(packed, bitorder="little")[: before[name].size].astype(bool)
        assert stays.mean() == 0.25
        sizes = np.abs(before[name]).ravel()
        assert sizes[~stays].max() <= sizes[stays].min()
    assert BITS in made


def test_weights_without_zeros_are_refused(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match="no weight has zeros enough to be smaller without them"):
        store(graph, workshop)


def test_an_old_graph_is_refused(workshop: Workshop) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["score"])]
    old = a_graph(nodes, {"w": np.zeros((4, 300), dtype=np.float32)})
    old.opset_import[0].version = 10
    with pytest.raises(CompressionFailed, match="has version 10 of ONNX's operators, and needs 11"):
        store(old, workshop)
