"""Thin dense layers: what they compute, which there are, and when nothing is gained."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app.compression.gemm import without_gemm
from app.compression.graph import dense_nodes, last_dense_nodes, name_nodes
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Prepared
from onnx import TensorProto, helper

from tests.compression.parts import edited, scorer_of, set_weight, weights

FACTOR = techniques()["factor_dense"]
NARROW = {"ratio": 0.5, "rows": 1000}


def factor(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    made: onnx.ModelProto = FACTOR.apply(graph, FACTOR.configure(settings, "a test"), workshop)
    return made


def products(graph: onnx.ModelProto) -> int:
    return sum(weights(graph)[node.input[1]].size for node in dense_nodes(graph))


def scores(graph: onnx.ModelProto, prepared: Prepared, folder: Path) -> Array:
    return scorer_of(graph, folder).score_rows(prepared.validation)


def of_rank(graph: onnx.ModelProto, rank: int) -> onnx.ModelProto:
    """The graph whose every hidden weight has this rank."""

    def change(copy: onnx.ModelProto) -> None:
        last = {node.input[1] for node in last_dense_nodes(copy)}
        for node in dense_nodes(copy):
            if node.input[1] not in last:
                left, values, right = np.linalg.svd(weights(copy)[node.input[1]], full_matrices=False)
                thin = (left[:, :rank] * values[:rank]) @ right[:rank]
                set_weight(copy, node.input[1], thin.astype(np.float32))

    return edited(graph, change)


def as_matmul(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph whose Gemms are a MatMul and an Add."""
    named = edited(graph, name_nodes)
    return without_gemm(named, leave=())


def scaled(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph whose Gemms give half of the products, and twice what they add."""

    def change(copy: onnx.ModelProto) -> None:
        for node in copy.graph.node:
            if node.op_type == "Gemm":
                kept = [one for one in node.attribute if one.name not in ("alpha", "beta")]
                del node.attribute[:]
                more = {"alpha": 0.5, "beta": 2.0}
                node.attribute.extend([*kept, *(helper.make_attribute(*one) for one in more.items())])

    return edited(graph, change)


@pytest.mark.parametrize("form", [None, as_matmul, scaled], ids=["exported", "matmul", "scaled"])
@pytest.mark.parametrize("weighting", ["inputs", "none"])
def test_layers_of_low_rank_give_the_same_scores_by_fewer_products(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path, form: Any, weighting: str
) -> None:
    thin = of_rank(graph, 4) if form is None else form(of_rank(graph, 4))
    made = factor(thin, workshop, energy=0.999999999, weighting=weighting, multiple=4, rows=1000)
    onnx.checker.check_model(made, full_check=True)
    assert products(made) < 0.6 * products(thin)
    ours, theirs = (scores(one, prepared, tmp_path / str(at)) for at, one in enumerate((made, thin)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_what_layers_are_given_is_worth_knowing(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    expected = scores(graph, prepared, tmp_path / "expected")
    aware, plain = (
        np.abs(
            scores(factor(graph, workshop, **NARROW, weighting=one), prepared, tmp_path / one) - expected
        ).mean()
        for one in ("inputs", "none")
    )
    assert aware < 0.8 * plain


def test_more_energy_and_a_larger_share_keep_more(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    expected = scores(graph, prepared, tmp_path / "expected")
    for name, (few, many) in {"energy": (0.6, 0.95), "ratio": (0.3, 0.8)}.items():
        narrow, wide = (factor(graph, workshop, **{name: one}, multiple=4, rows=1000) for one in (few, many))
        assert products(narrow) < products(wide) < products(graph)
        worse, better = (
            np.abs(scores(one, prepared, tmp_path / f"{name}{at}") - expected).mean()
            for at, one in enumerate((narrow, wide))
        )
        assert better < worse


def test_ranks_are_multiples_and_no_layer_has_more_products(
    graph: onnx.ModelProto, workshop: Workshop
) -> None:
    made = factor(graph, workshop, energy=0.9, rows=1000)
    shapes = {name: values.shape for name, values in weights(made).items()}
    first = {name.removesuffix(".first"): one for name, one in shapes.items() if name.endswith(".first")}
    assert first
    for stem, (inputs, rank) in first.items():
        outputs = shapes[f"{stem}.second"][1]
        assert rank % 8 == 0
        assert rank * (inputs + outputs) < inputs * outputs
    untouched = {node.input[1] for node in last_dense_nodes(graph)}
    assert untouched <= shapes.keys()


def test_layers_that_share_a_weight_still_share_it(graph: onnx.ModelProto, workshop: Workshop) -> None:
    tied = edited(graph, _tie)
    made = factor(tied, workshop, **NARROW)
    readers = [node.input[1] for node in dense_nodes(made)]
    assert len(readers) > len(set(readers))
    assert products(made) < products(tied)


def _tie(copy: onnx.ModelProto) -> None:
    """Two layers of equal shape multiply by the first one's weight."""
    by_shape: dict[Any, onnx.NodeProto] = {}
    last = {node.output[0] for node in last_dense_nodes(copy)}
    for node in dense_nodes(copy):
        way = (node.op_type, weights(copy)[node.input[1]].shape, str(node.attribute))
        if node.output[0] not in last and way in by_shape:
            node.input[1] = by_shape[way].input[1]
            return
        by_shape[way] = node
    raise AssertionError("no two layers are alike")


def test_where_no_layer_gains_it_says_what_to_do(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(
        CompressionFailed, match="no dense layer besides the last ones has fewer products as two"
    ):
        factor(graph, workshop, energy=0.9999999, weighting="none")


def test_values_that_are_not_finite_are_named(graph: onnx.ModelProto, workshop: Workshop) -> None:
    def damage(copy: onnx.ModelProto) -> None:
        name = "embedding.tables.user_id.weight"
        set_weight(copy, name, weights(copy)[name] * np.float32(np.inf))

    with pytest.raises(CompressionFailed, match="is not finite on some training rows"):
        factor(edited(graph, damage), workshop, rows=100)


def test_a_graph_that_onnxruntime_cannot_run_is_refused(graph: onnx.ModelProto, workshop: Workshop) -> None:
    def damage(copy: onnx.ModelProto) -> None:
        name = "embedding.tables.user_id.weight"
        set_weight(copy, name, weights(copy)[name][:5])

    with pytest.raises(CompressionFailed, match=r"onnxruntime cannot run the graph: .*out of data bounds"):
        factor(edited(graph, damage), workshop, rows=100)


def test_a_factored_graph_is_folded_and_quantized_afterwards(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    thin = factor(graph, workshop, **NARROW)
    known = techniques()
    folded = known["fold_tables"].apply(thin, known["fold_tables"].configure({}, "a test"), workshop)
    int8 = known["quantize_static"]
    small = int8.apply(folded, int8.configure({"rows": 300}, "a test"), workshop)
    assert any(one.data_type == TensorProto.INT8 for one in small.graph.initializer)
    before, after = (scores(one, prepared, tmp_path / str(at)) for at, one in enumerate((thin, folded)))
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-6)
    assert products(folded) < products(thin)
