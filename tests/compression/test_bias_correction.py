"""Bias correction: what quantization shifts on average is taken back, layer by layer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app.compression.bias_correction import mean_outputs, with_corrected_biases
from app.compression.calibration import drawn_rows, graph_inputs
from app.compression.graph import dense_nodes, last_dense_nodes
from app.compression.recipe import read_steps
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import ConfigurationError
from app.model_card import Recipe, read_card
from app.training.rows import Prepared
from onnx import helper, numpy_helper

from tests.compression.parts import a_graph, scorer_of, weights
from tests.compression.test_quantizers import operators, quantize
from tests.small_model import NAME, SmallModel

STATIC: dict[str, Any] = {"rows": 1000, "per_channel": False}
WEIGHTS: dict[str, Any] = {"rows": 1000, "bits": 4, "block_size": 32}
cases = pytest.mark.parametrize(
    ("name", "settings"), [("quantize_static", STATIC), ("quantize_weights", WEIGHTS)]
)


def shifts(
    graph: onnx.ModelProto, quantized: onnx.ModelProto, prepared: Prepared, seed: int = 0
) -> dict[str, Array]:
    """How far the mean of each output of each quantized layer is from that in float, on the rows of calibration."""
    last = {node.name for node in last_dense_nodes(graph)}
    outputs = [node.output[0] for node in dense_nodes(graph) if node.name not in last]
    inputs = list(graph_inputs(prepared.train, drawn_rows(prepared.train, 1000, seed)))
    ours, theirs = (mean_outputs(one, outputs, inputs) for one in (quantized, graph))
    return {name: np.abs(ours[name] - theirs[name]) for name in outputs}


def half_a_code(quantized: onnx.ModelProto, layer: str) -> Array:
    """How near an int32 bias can come; 0 for a layer with a bias in float."""
    makers = {output: node for node in quantized.graph.node for output in node.output}
    node = makers[layer]
    if node.op_type != "Gemm" or len(node.input) < 3:
        return np.zeros(1)
    return weights(quantized)[makers[node.input[2]].input[1]] / 2


@cases
def test_the_mean_shift_of_every_layer_falls_to_nothing(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, name: str, settings: dict[str, Any]
) -> None:
    made = quantize(graph, name, workshop, correct_biases=True, **settings)
    plain = shifts(graph, quantize(graph, name, workshop, **settings), prepared)
    assert sum(shift.max() > 1e-3 for shift in plain.values()) >= 5
    for layer, shift in shifts(graph, made, prepared).items():
        assert (shift <= 1.01 * half_a_code(made, layer) + 1e-6).all(), layer


@cases
def test_rows_that_were_not_calibrated_on_are_shifted_less_too(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, name: str, settings: dict[str, Any]
) -> None:
    validation = replace(prepared, train=prepared.validation)
    plain = shifts(graph, quantize(graph, name, workshop, **settings), validation)
    corrected = shifts(graph, quantize(graph, name, workshop, correct_biases=True, **settings), validation)
    assert sum(one.sum() for one in corrected.values()) < 0.5 * sum(one.sum() for one in plain.values())


def test_scores_are_nearer_on_average(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    graphs = {
        "float": graph,
        "plain": quantize(graph, "quantize_weights", workshop, **WEIGHTS),
        "corrected": quantize(graph, "quantize_weights", workshop, correct_biases=True, **WEIGHTS),
    }
    found = {
        key: scorer_of(one, tmp_path / key).score_rows(prepared.test).mean() for key, one in graphs.items()
    }
    assert abs(found["corrected"] - found["float"]) < 0.5 * abs(found["plain"] - found["float"])


def test_a_layer_that_has_a_bias_gets_no_other_node(graph: onnx.ModelProto, workshop: Workshop) -> None:
    plain = operators(quantize(graph, "quantize_static", workshop, **STATIC))
    made = quantize(graph, "quantize_static", workshop, correct_biases=True, **STATIC)
    last = {node.name for node in last_dense_nodes(graph)}
    without = [node for node in dense_nodes(graph) if len(node.input) < 3 and node.name not in last]
    assert len(without) == 2, "the request's half of both first layers"
    assert operators(made) == sorted([*plain, *["Add"] * len(without)])
    codes = {key for key, one in weights(made).items() if one.dtype == np.int32 and one.ndim == 1}
    assert codes, "biases are int32 still"


def test_a_bias_that_two_layers_share_is_left_and_each_gets_its_own() -> None:
    rng = np.random.default_rng(0)
    values = {
        "w": rng.normal(size=(4, 4)),
        "v": rng.normal(size=(4, 4)),
        "b": rng.normal(size=4),
        "u": np.ones(4),
    }

    def made(first: Array, second: Array) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Gemm", ["x", "w", "b"], ["a"]),
            helper.make_node("Gemm", ["a", "v", "b"], ["c"]),
            helper.make_node("MatMul", ["c", "u"], ["score"]),
        ]
        return a_graph(nodes, {**values, "w": first, "v": second})

    before = made(values["w"], values["v"])
    quantized = made(np.round(values["w"]), np.round(values["v"]))
    for tensor in quantized.graph.initializer:
        if tensor.name in ("w", "v"):  # as a quantizer does: what a product reads is no weight of the graph
            tensor.name += "_codes"
    quantized.graph.node.insert(0, helper.make_node("Identity", ["w_codes"], ["w"]))
    quantized.graph.node.insert(0, helper.make_node("Identity", ["v_codes"], ["v"]))
    inputs = [{"x": rng.normal(size=(50, 4)).astype(np.float32)}]
    corrected = with_corrected_biases(before, quantized, inputs)
    np.testing.assert_array_equal(weights(corrected)["b"], numpy_helper.to_array(before.graph.initializer[2]))
    ours, theirs = (mean_outputs(one, ["a", "c"], inputs) for one in (corrected, before))
    for name in ("a", "c"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


def test_correcting_weights_without_rows_is_refused_before_any_work(small_model: SmallModel) -> None:
    card = read_card(small_model.models / NAME).model_copy(update={"data": None})
    steps = ({"technique": "quantize_weights", "correct_biases": True},)
    with pytest.raises(
        ConfigurationError, match=r"step 1 \(quantize_weights\): correct_biases: it takes rows"
    ):
        read_steps(Recipe(name="mine", steps=steps), card)
