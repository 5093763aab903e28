"""Mixed precision: what is measured of a layer, which layers stay in float for it, and what is said of them."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from app.artifact import REPORT_FILE
from app.compression.graph import dense_nodes, last_dense_nodes
from app.compression.layer_timing import LayerTiming, Seconds
from app.compression.loss_of_quality import QualityLoss
from app.compression.mixed_precision import MixedPrecisionConfig, with_mixed_precision
from app.compression.recipe import read_steps
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed, ConfigurationError
from app.model_card import Recipe, read_card
from app.report import Report
from app.training.rows import Prepared
from onnx import helper, numpy_helper

from tests.compression.parts import READY_CARD, edited, ready_model, set_weight, weights
from tests.small_model import NAME, SmallModel

both = pytest.mark.parametrize("name", ["quantize_dynamic", "quantize_static"])
SPOILT = "deep.layers.1.weight"


def quantize(
    graph: onnx.ModelProto, name: str, workshop: Workshop, **settings: Any
) -> tuple[onnx.ModelProto, list[str]]:
    """The result of measuring by logits, without timing, and the notes."""
    notes: list[str] = []
    technique = techniques()[name]
    given = {"keep_float": "measured", "measure": "logit", "candidates": 0, "per_channel": False}
    config = technique.configure({**given, **settings}, "a test")
    return technique.apply(graph, config, replace(workshop, note=notes.append)), notes


def in_float(graph: onnx.ModelProto) -> set[str]:
    """Weights of the layers that are left; dynamic quantization turns them round."""
    return {node.input[1].removesuffix("_Transposed") for node in dense_nodes(graph)}


@pytest.fixture(scope="module")
def spoilt(graph: onnx.ModelProto) -> onnx.ModelProto:
    """One layer has a neuron with a weight so large that one scale for the whole tensor rounds all others to 0."""

    def spoil(copy: onnx.ModelProto) -> None:
        values = weights(copy)[SPOILT].copy()
        values[0, 0] = 2000 * np.abs(values).max()
        set_weight(copy, SPOILT, values)
        # The neuron itself never fires, so nothing else of the function changes.
        bias = weights(copy)["deep.layers.0.item.bias"].copy()
        bias[0] = -1e6
        set_weight(copy, "deep.layers.0.item.bias", bias)

    return edited(graph, spoil)


@both
def test_a_large_budget_quantizes_what_is_quantized_without_measuring(
    graph: onnx.ModelProto, workshop: Workshop, name: str
) -> None:
    made, notes = quantize(graph, name, workshop, budget=10)
    plain, _ = quantize(graph, name, workshop, keep_float="last")
    assert notes == []
    assert in_float(made) == in_float(plain) == {node.input[1] for node in last_dense_nodes(graph)}


@both
def test_the_layer_that_costs_too_much_stays_in_float_and_is_named(
    spoilt: onnx.ModelProto, workshop: Workshop, name: str
) -> None:
    last = {node.input[1] for node in last_dense_nodes(spoilt)}
    made, (note,) = quantize(spoilt, name, workshop, budget=0.05)
    assert in_float(made) == last | {SPOILT}
    assert note.startswith(f"{SPOILT} stays in float: alone it moves a logit by ")
    assert note.endswith(", of which the budget is 0.05")


def test_what_is_made_keeps_to_the_budget(
    spoilt: onnx.ModelProto, workshop: Workshop, prepared: Prepared
) -> None:
    loss = QualityLoss(spoilt, prepared.validation, workshop.seed)
    plain, _ = quantize(spoilt, "quantize_static", workshop, keep_float="last")
    made, _ = quantize(spoilt, "quantize_static", workshop, budget=0.05)
    assert loss.of_logits(plain) > 0.05 >= loss.of_logits(made) > 0
    by_auc, _ = quantize(spoilt, "quantize_static", workshop, measure="auc", budget=0.0)
    assert loss.of_auc(by_auc) <= 0 == loss.of_auc(spoilt)


def test_a_budget_that_no_layer_keeps_to_is_refused(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match=r"^keep_float: no layer is left to quantize: each of them"):
        quantize(graph, "quantize_static", workshop, budget=0)


def test_validation_rows_decide_and_test_rows_are_not_looked_at(
    spoilt: onnx.ModelProto, workshop: Workshop, prepared: Prepared
) -> None:
    few = prepared.test.take(np.arange(1))
    made, notes = quantize(
        spoilt, "quantize_static", replace(workshop, prepared=replace(prepared, test=few)), budget=0.05
    )
    again, said = quantize(spoilt, "quantize_static", workshop, budget=0.05)
    assert (made.SerializeToString(deterministic=True), notes) == (
        again.SerializeToString(deterministic=True),
        said,
    )
    positives = prepared.validation.take(np.flatnonzero(prepared.validation.labels == 1))
    one_class = replace(workshop, prepared=replace(prepared, validation=positives))
    with pytest.raises(CompressionFailed, match="all positive or all negative and have no AUC"):
        quantize(spoilt, "quantize_static", one_class, measure="auc")
    none = replace(workshop, prepared=replace(prepared, validation=few.take(np.arange(0))))
    with pytest.raises(CompressionFailed, match="there are no validation rows to measure on"):
        quantize(spoilt, "quantize_static", none)


def test_a_layer_that_gains_no_time_stays_in_float(graph: onnx.ModelProto, workshop: Workshop) -> None:
    """What quantizes here makes one layer a hundred times slower, and another one thirty times quicker."""
    nodes = {node.input[1]: node.name for node in dense_nodes(graph)}
    slow, quick = nodes["deep.layers.1.weight"], nodes["deep.layers.0.item.weight"]
    asked: list[set[str]] = []

    def quantized(layers: Collection[str]) -> onnx.ModelProto:
        asked.append(set(layers))

        def change(copy: onnx.ModelProto) -> None:
            _widen(copy, quick, narrow_again=quick in layers)
            if slow in layers:
                _stretch(copy, slow)

        return edited(graph, change)

    notes: list[str] = []
    config = MixedPrecisionConfig(keep_float="measured", measure="logit", budget=1, candidates=50)
    with_mixed_precision(quantized(()), quantized, config, replace(workshop, note=notes.append))
    (note,) = (
        one for one in notes if one.startswith("deep.layers.1.weight stays in float: it gains no time (")
    )
    assert note.endswith(" us in float)")
    assert {slow} in asked
    assert {quick} in asked
    assert quick in asked[-1]
    assert slow not in asked[-1]


def _stretch(graph: onnx.ModelProto, name: str) -> None:
    """The layer reads what it read before, by way of two thousand copies of which the largest is taken."""
    (node,) = (one for one in graph.graph.node if one.name == name)
    axis, copies = _indices(graph, "axis", [2]), _indices(graph, "copies", [1, 1, 2000])
    _insert(
        graph,
        name,
        helper.make_node("Unsqueeze", [node.input[0], axis], ["thin"]),
        helper.make_node("Expand", ["thin", copies], ["copied"]),
        helper.make_node("ReduceMax", ["copied", axis], ["largest"], keepdims=0),
    )


def _widen(graph: onnx.ModelProto, name: str, *, narrow_again: bool) -> None:
    """The layer reads a hundred copies side by side, whose weights add up to its own; or the first of them."""
    (node,) = (one for one in graph.graph.node if one.name == name)
    weight = weights(graph)[node.input[1]]
    times = _indices(graph, "times", [1, 100])
    steps = [helper.make_node("Tile", [node.input[0], times], ["wide"])]
    if narrow_again:
        bounds = [_indices(graph, f"at_{at}", [at]) for at in (0, weight.shape[1], 1)]
        steps.append(helper.make_node("Slice", ["wide", *bounds], ["first"]))
    else:
        (stored,) = (one for one in graph.graph.initializer if one.name == node.input[1])
        stored.CopyFrom(numpy_helper.from_array(np.tile(weight / 100, 100), node.input[1]))
    _insert(graph, name, *steps)


def _indices(graph: onnx.ModelProto, name: str, values: list[int]) -> str:
    """The name of a constant that the graph now has."""
    graph.graph.initializer.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
    return name


def _insert(graph: onnx.ModelProto, name: str, *steps: onnx.NodeProto) -> None:
    """The layer reads what the last step gives."""
    (at,) = (position for position, node in enumerate(graph.graph.node) if node.name == name)
    graph.graph.node[at].input[0] = steps[-1].output[0]
    for position, step in enumerate(steps, start=at):
        graph.graph.node.insert(position, step)


def test_a_layer_is_timed_alone_on_the_rows_of_its_side(graph: onnx.ModelProto, workshop: Workshop) -> None:
    timing = LayerTiming(graph, workshop.encoder, candidates=7)
    for node in dense_nodes(graph):
        assert len(timing.value(node.input[0])) == (1 if "request" in node.input[1] else 7), node.input[1]
        assert timing.seconds(node, graph).quantized > 0


def test_equal_times_are_no_gain() -> None:
    assert Seconds(1e-6, 2e-6).gains
    assert not Seconds(1e-6, 1e-6).gains
    assert str(Seconds(2.4e-5, 1e-6)) == "24 us quantized, 1 us in float"


def test_measuring_without_rows_is_refused_before_any_work(small_model: SmallModel) -> None:
    card = read_card(small_model.models / NAME).model_copy(update={"data": None})
    steps = ({"technique": "quantize_dynamic", "keep_float": "measured"},)
    with pytest.raises(
        ConfigurationError, match=r"step 1 \(quantize_dynamic\): keep_float: to measure layers"
    ):
        read_steps(Recipe(name="mine", steps=steps), card)


def test_the_reasons_stand_in_the_report(
    small_model: SmallModel, spoilt: onnx.ModelProto, tmp_path: Any
) -> None:
    step = (
        '{ technique = "quantize_static", rows = 500, per_channel = false, keep_float = "measured", '
        'measure = "logit", budget = 0.05, candidates = 0 }'
    )
    card = READY_CARD.replace('{ technique = "quantize_static", rows = 500 }', step)
    model = ready_model(small_model, spoilt, tmp_path, card)
    outcome = next(one for one in model.compress(["int8-static"]) if one.variant == "int8-static")
    assert outcome.version is not None
    folder = model.store.folder(NAME, "int8-static", outcome.version)
    report = msgspec.json.decode((folder / REPORT_FILE).read_bytes(), type=Report)
    (note,) = report.notes
    assert note.startswith(f"{SPOILT} stays in float: ")
