"""Both int8 quantizers on the small model's graph: what becomes int8, what stays in float, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app.compression.graph import dense_nodes, last_dense_nodes
from app.compression.quantizer import quantized
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.rows import Prepared
from onnx import helper

from tests.compression.parts import a_graph, edited, scorer_of, weights

both = pytest.mark.parametrize("name", ["quantize_dynamic", "quantize_static"])


def quantize(graph: onnx.ModelProto, name: str, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    technique = techniques()[name]
    made: onnx.ModelProto = technique.apply(graph, technique.configure(settings, "a test"), workshop)
    return made


def int8_weights(graph: onnx.ModelProto) -> list[tuple[int, ...]]:
    return sorted(one.shape for one in weights(graph).values() if one.dtype == np.int8 and one.ndim == 2)


def operators(graph: onnx.ModelProto) -> list[str]:
    return sorted(node.op_type for node in graph.graph.node)


@both
def test_every_dense_layer_but_the_last_ones_has_int8_weights(
    graph: onnx.ModelProto, workshop: Workshop, name: str
) -> None:
    made = quantize(graph, name, workshop, rows=100) if "static" in name else quantize(graph, name, workshop)
    kept = [node.name for node in last_dense_nodes(graph)]
    to_make = [node for node in dense_nodes(graph) if node.name not in kept]
    assert len(to_make) >= 6
    assert len(int8_weights(made)) == len(to_make)
    assert len(dense_nodes(made)) == len(kept)
    quantities = {"quantize_dynamic": "MatMulInteger", "quantize_static": "QuantizeLinear"}
    assert quantities[name] in operators(made)


@both
@pytest.mark.parametrize("per_channel", [True, False])
def test_scales_are_per_output_channel_or_per_tensor(
    graph: onnx.ModelProto, workshop: Workshop, name: str, *, per_channel: bool
) -> None:
    made = weights(quantize(graph, name, workshop, per_channel=per_channel))
    scales = {key: one for key, one in made.items() if "weight" in key and key.endswith("_scale")}
    assert scales
    assert all((one.size > 1) == per_channel for one in scales.values())


@both
def test_nodes_without_names_are_quantized_alike(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path, name: str
) -> None:
    def forget_names(copy: onnx.ModelProto) -> None:
        for node in copy.graph.node:
            node.name = ""

    unnamed = edited(graph, forget_names)
    before = unnamed.SerializeToString(deterministic=True)
    named, made = quantize(graph, name, workshop), quantize(unnamed, name, workshop)
    assert unnamed.SerializeToString(deterministic=True) == before
    assert operators(made) == operators(named)
    scores = [
        scorer_of(one, tmp_path / str(n)).score_rows(prepared.test) for n, one in enumerate((named, made))
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("rows", [1, 256, 300, 1000])
def test_every_method_calibrates_on_any_number_of_rows(
    graph: onnx.ModelProto, workshop: Workshop, method: str, rows: int
) -> None:
    assert int8_weights(quantize(graph, "quantize_static", workshop, method=method, rows=rows))


def test_ranges_follow_from_the_training_rows_alone(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared
) -> None:
    def made(**changes: Any) -> bytes:
        changed = replace(workshop, prepared=replace(prepared, **changes))
        return quantize(graph, "quantize_static", changed, rows=10_000).SerializeToString(deterministic=True)

    few = prepared.train.take(np.arange(50))
    everything = made()
    assert made(test=few, validation=few) == everything
    assert made(train=few) != everything


def test_static_activations_are_uint8_and_layers_give_float(
    graph: onnx.ModelProto, workshop: Workshop
) -> None:
    made = quantize(graph, "quantize_static", workshop, rows=100)
    zero_points = {node.input[2] for node in made.graph.node if node.op_type == "QuantizeLinear"}
    assert {weights(made)[name].dtype for name in zero_points} == {np.dtype(np.uint8)}
    gemms = {node.output[0] for node in made.graph.node if node.op_type in ("Gemm", "MatMul")}
    consumers = [node.op_type for node in made.graph.node if gemms & set(node.input)]
    assert "Mul" in consumers, "the cross network's products"
    assert "Add" in consumers, "the two sides of a layer"


@both
def test_a_graph_with_one_dense_layer_is_refused(workshop: Workshop, name: str) -> None:
    graph = a_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Sigmoid", ["a"], ["score"])],
        {"w": np.ones((4, 1))},
    )
    with pytest.raises(CompressionFailed) as refused:
        quantize(graph, name, workshop)
    assert refused.value.message == (f"{name}: the graph has no dense layer to quantize besides the last one")


@pytest.mark.parametrize("error", [ValueError, RuntimeError, TypeError])
def test_what_a_quantizer_cannot_do_is_said_in_one_line(
    graph: onnx.ModelProto, error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(copy: onnx.ModelProto, target: Path) -> None:
        print("chatter")
        raise error("this graph is odd\nin many ways")

    with pytest.raises(CompressionFailed) as refused:
        quantized(graph, "squeeze", fail)
    assert refused.value.message == "squeeze: this graph is odd"
    assert capsys.readouterr().out == ""


def test_static_biases_of_a_gemm_are_int32_at_the_product_of_both_scales(
    graph: onnx.ModelProto, workshop: Workshop
) -> None:
    made = quantize(graph, "quantize_static", workshop, rows=100)
    stored, before = weights(made), weights(graph)
    makers = {node.output[0]: node for node in made.graph.node}
    gemms = [
        node
        for node in made.graph.node
        if node.op_type == "Gemm" and len(node.input) == 3 and {node.input[0], node.input[2]} <= makers.keys()
    ]
    assert gemms
    for node in gemms:
        of_input, of_weight, of_bias = (makers[name] for name in node.input)
        assert {one.op_type for one in (of_input, of_weight, of_bias)} == {"DequantizeLinear"}
        scale = stored[of_bias.input[1]]
        assert stored[of_bias.input[0]].dtype == np.int32
        np.testing.assert_allclose(scale, stored[of_input.input[1]] * stored[of_weight.input[1]], rtol=1e-6)
        bias = before[of_bias.input[0].removesuffix("_quantized")]
        np.testing.assert_allclose(stored[of_bias.input[0]] * scale, bias, atol=float(scale.max()))
