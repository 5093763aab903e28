"""Cross-layer equalization: the same scores, balanced ranges, and only where both are sure."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app.compression.equalization import find_pairs
from app.compression.loss_of_quality import QualityLoss
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Prepared
from onnx import helper

from tests.compression.parts import a_graph, edited, scorer_of, set_weight, weights
from tests.compression.test_quantizers import quantize

WRITERS = ("deep.layers.0.item.weight", "deep.layers.0.request.weight")
BIAS, READER = "deep.layers.0.item.bias", "deep.layers.1.weight"


def equalized(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    return quantize(graph, "equalize", workshop, **settings)


@pytest.fixture(scope="module")
def unbalanced(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Every neuron of the first hidden layer is so many times larger, and what reads it smaller."""
    factors = np.exp2(np.random.default_rng(0).integers(-7, 8, size=32)).astype(np.float32)

    def unbalance(copy: onnx.ModelProto) -> None:
        values = weights(copy)
        for name in WRITERS:
            set_weight(copy, name, values[name] * factors[:, None])
        set_weight(copy, BIAS, values[BIAS] * factors)
        set_weight(copy, READER, values[READER] / factors)

    return edited(graph, unbalance)


def scores(graph: onnx.ModelProto, prepared: Prepared, folder: Path) -> Array:
    return scorer_of(graph, folder).score_rows(prepared.test)


def ranges(graph: onnx.ModelProto) -> tuple[Array, Array]:
    """Of each neuron: what makes it, and what reads it."""
    values = weights(graph)
    made = np.max([np.abs(values[name]).max(axis=1) for name in WRITERS], axis=0)
    return made, np.abs(values[READER]).max(axis=0)


def test_scores_stay_the_same_to_the_last_bit(
    unbalanced: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    made = equalized(unbalanced, workshop)
    assert not np.array_equal(weights(made)[READER], weights(unbalanced)[READER])
    np.testing.assert_array_equal(
        scores(made, prepared, tmp_path / "made"), scores(unbalanced, prepared, tmp_path / "before")
    )


def test_with_any_factors_scores_differ_by_rounding_alone_and_ranges_are_equal(
    unbalanced: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    made = equalized(unbalanced, workshop, powers_of_two=False)
    np.testing.assert_allclose(
        scores(made, prepared, tmp_path / "made"),
        scores(unbalanced, prepared, tmp_path / "before"),
        atol=1e-6,
    )
    np.testing.assert_allclose(*ranges(made), rtol=1e-5)


def test_ranges_are_balanced_up_to_a_factor_of_two(unbalanced: onnx.ModelProto, workshop: Workshop) -> None:
    before, after = (
        one / other for one, other in (ranges(unbalanced), ranges(equalized(unbalanced, workshop)))
    )
    assert before.max() / before.min() > 1000
    assert after.max() <= 2.001
    assert after.min() >= 0.499


def test_what_quantizes_next_loses_less(
    unbalanced: onnx.ModelProto, workshop: Workshop, prepared: Prepared
) -> None:
    loss = QualityLoss(unbalanced, prepared.validation, 0)
    plain, balanced = (
        loss.of_logits(quantize(graph, "quantize_static", workshop, per_channel=False))
        for graph in (unbalanced, equalized(unbalanced, workshop))
    )
    assert balanced < 0.5 * plain


def test_only_layers_before_those_that_give_the_score_are_read_by_it(graph: onnx.ModelProto) -> None:
    (pair,) = find_pairs(graph)
    assert tuple(one.tensor for one in pair.weights) == WRITERS
    assert [one.tensor for one in pair.biases] == [BIAS]
    assert (pair.reader.tensor, pair.reader.axis) == (READER, 1)


def chain(between: list[onnx.NodeProto], **changes: Any) -> onnx.ModelProto:
    """Two layers with something between the values `a` and `c`, and a last one."""
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 3), "v": (3, 5), "u": (5, 1)}
    given = {name: rng.normal(size=shape) for name, shape in shapes.items()} | changes
    last = helper.make_node("MatMul", ["d", "u"], ["score"])
    return a_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            *between,
            helper.make_node("MatMul", ["c", "v"], ["d"]),
            last,
        ],
        given,
    )


def node(kind: str, *values: str, **settings: Any) -> onnx.NodeProto:
    return helper.make_node(kind, [*values[:-1]], [values[-1]], **settings)


@pytest.mark.parametrize(
    ("between", "changes", "biases"),
    [
        ([node("Relu", "a", "c")], {}, []),
        ([node("LeakyRelu", "a", "c", alpha=0.1)], {}, []),
        ([node("Add", "a", "b", "s"), node("Relu", "s", "c")], {"b": np.ones(3)}, ["b"]),
        ([node("Add", "b", "a", "s"), node("Relu", "s", "c")], {"b": np.ones((1, 3))}, ["b"]),
    ],
)
def test_where_a_factor_passes_through_there_is_a_pair(
    between: list[onnx.NodeProto], changes: dict[str, Any], biases: list[str], workshop: Workshop
) -> None:
    graph = chain(between, **changes)
    (pair,) = find_pairs(graph)
    assert ([one.tensor for one in pair.weights], pair.reader.tensor) == (["w"], "v")
    assert [one.tensor for one in pair.biases] == biases
    assert not np.array_equal(
        weights(equalized(graph, workshop, powers_of_two=False))["w"], weights(graph)["w"]
    )


@pytest.mark.parametrize(
    ("between", "changes"),
    [
        ([node("Sigmoid", "a", "c")], {}),
        (
            [node("Relu", "a", "c"), node("Relu", "a", "other"), node("Add", "other", "b", "more")],
            {"b": np.ones(3)},
        ),
        ([node("Add", "a", "b", "s"), node("Relu", "s", "c")], {"b": np.ones(1)}),
        ([node("Add", "a", "x3", "s"), node("Relu", "s", "c")], {"x3": np.ones((2, 3))}),
        ([node("MatMul", "x", "w", "e"), node("Add", "a", "e", "s"), node("Relu", "s", "c")], {}),
    ],
    ids=["no positive factor passes", "read twice", "one bias for all", "no bias", "a shared weight"],
)
def test_where_it_would_not_be_exact_nothing_is_changed(
    between: list[onnx.NodeProto], changes: dict[str, Any], workshop: Workshop
) -> None:
    graph = chain(between, **changes)
    with pytest.raises(
        CompressionFailed, match="equalize: the graph has no two dense layers with nothing but"
    ):
        equalized(graph, workshop)


def test_neurons_that_do_nothing_stay_as_they_are(workshop: Workshop) -> None:
    weight = np.ones((4, 3))
    weight[:, 1] = 0
    made = weights(equalized(chain([node("Relu", "a", "c")], w=weight * 64), workshop))
    assert np.isfinite(made["w"]).all()
    assert np.isfinite(made["v"]).all()
    np.testing.assert_array_equal(made["w"][:, 1], 0)
