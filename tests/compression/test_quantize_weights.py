"""Weight-only quantization: every dense layer but the last is a MatMulNBits, and a Gemm is rewritten exactly."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app.compression.gemm import without_gemm
from app.compression.graph import dense_nodes, last_dense_nodes
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.rows import Prepared
from onnx import helper

from tests.compression.parts import a_graph, scorer_of, weights


def quantize(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    technique = techniques()["quantize_weights"]
    made: onnx.ModelProto = technique.apply(graph, technique.configure(settings, "a test"), workshop)
    return made


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_every_dense_layer_but_the_last_ones_is_quantized(
    graph: onnx.ModelProto,
    workshop: Workshop,
    prepared: Prepared,
    tmp_path: Path,
    bits: int,
    *,
    symmetric: bool,
) -> None:
    made = quantize(graph, workshop, bits=bits, symmetric=symmetric, block_size=16)
    kept = len(last_dense_nodes(graph))
    nodes = [node for node in made.graph.node if node.op_type == "MatMulNBits"]
    assert len(nodes) == len(dense_nodes(graph)) - kept
    assert len(dense_nodes(made)) == kept
    settings = [{one.name: helper.get_attribute_value(one) for one in node.attribute} for node in nodes]
    assert {(one["bits"], one["block_size"]) for one in settings} == {(bits, 16)}
    ours, theirs = (
        scorer_of(one, tmp_path / name).score_rows(prepared.test)
        for name, one in (("made", made), ("before", graph))
    )
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9


def gemm(**settings: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    shape = (3, 4) if settings.get("transB") else (4, 3)
    return a_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["a"], name="first", **settings),
            helper.make_node("MatMul", ["a", "v"], ["score"], name="last"),
        ],
        {"w": rng.normal(size=shape), "b": rng.normal(size=3), "v": rng.normal(size=(3, 1))},
    )


@pytest.mark.parametrize("settings", [{}, {"transB": 1}, {"transB": 1, "alpha": 2.0, "beta": 0.5}])
def test_a_gemm_becomes_a_matmul_and_an_add_of_the_same_values(settings: dict[str, Any]) -> None:
    before = gemm(**settings)
    made = without_gemm(before, leave=())
    assert [node.op_type for node in made.graph.node] == ["MatMul", "Add", "MatMul"]
    assert "w" not in weights(made), "what nobody reads is gone"
    stored = weights(before)
    weight = stored["w"].T if settings.get("transB") else stored["w"]
    (name,) = [node.input[1] for node in made.graph.node if node.name == "first_MatMul"]
    np.testing.assert_allclose(weights(made)[name], weight * settings.get("alpha", 1.0), rtol=1e-6)
    (bias,) = [node.input[1] for node in made.graph.node if node.op_type == "Add"]
    np.testing.assert_allclose(weights(made)[bias], stored["b"] * settings.get("beta", 1.0), rtol=1e-6)


def test_a_gemm_that_is_left_and_one_that_transposes_its_input() -> None:
    assert [node.op_type for node in without_gemm(gemm(), leave={"first"}).graph.node] == ["Gemm", "MatMul"]
    with pytest.raises(CompressionFailed, match="the Gemm first transposes its input"):
        without_gemm(gemm(transA=1), leave=())
