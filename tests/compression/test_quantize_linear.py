"""The linear quantizer: the case of the textbooks by hand, types, steps, and what onnxruntime makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from app.compression.graph import last_dense_nodes
from app.compression.linear import linear_codes, linear_values, step_of
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.rows import Prepared

from tests.compression.parts import scorer_of, weights


def quantize(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    technique = techniques()["quantize_linear"]
    made: onnx.ModelProto = technique.apply(graph, technique.configure(settings, "a test"), workshop)
    return made


@pytest.mark.parametrize("values", [np.arange(1, 10).reshape(3, 3), np.array([1, 2, 3])])
def test_with_step_1_whole_weights_and_biases_come_back_unchanged(values: np.ndarray) -> None:
    codes = linear_codes(values.astype(np.float32), 1.0)
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(linear_values(codes, 1.0), values)


def test_a_code_is_the_floor_or_the_nearest_integer() -> None:
    values = np.array([-0.7, -0.2, 0.0, 0.7, 1.3], dtype=np.float32)
    np.testing.assert_array_equal(linear_codes(values, 0.5), [-2, -1, 0, 1, 2])
    np.testing.assert_array_equal(linear_codes(values, 0.5, nearest=True), [-1, 0, 0, 1, 3])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-128, 127], np.int8),
        ([0, 128], np.uint8),
        ([-1, 128], np.int16),
        ([0, 40_000], np.uint16),
        ([-1, 40_000], np.int32),
    ],
)
def test_codes_have_the_smallest_type_that_holds_them(values: list[int], kind: type) -> None:
    assert linear_codes(np.array(values), 1.0).dtype == kind


def test_values_without_a_code_are_refused() -> None:
    with pytest.raises(CompressionFailed, match="do not fit 32 bits: choose a larger step"):
        linear_codes(np.array([1.0]), 1e-12)
    with pytest.raises(CompressionFailed, match="not a finite number"):
        linear_codes(np.array([np.nan]), 1.0)


def test_a_step_follows_from_the_bits() -> None:
    assert step_of(np.array([-254.0, 3.0]), 8) == 2.0
    assert step_of(np.zeros(3), 8) == 1.0


def test_stored_codes_are_integers_and_scores_are_those_of_their_values(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    made = quantize(graph, workshop, step=0.01)
    stored, before = weights(made), weights(graph)
    coded = [name.removesuffix("_codes") for name in stored if name.endswith("_codes")]
    assert len(coded) >= 6
    assert {before[name].ndim for name in coded} == {1, 2}, "biases too"
    by_hand = onnx.ModelProto()
    by_hand.CopyFrom(graph)
    for one in by_hand.graph.initializer:
        if one.name in coded:
            values = np.floor(before[one.name].astype(np.float64) / 0.01).astype(np.float32) * np.float32(
                0.01
            )
            one.CopyFrom(onnx.numpy_helper.from_array(values, one.name))
    scores = [
        scorer_of(each, tmp_path / name).score_rows(prepared.test)
        for name, each in (("made", made), ("hand", by_hand))
    ]
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_onnxruntime_turns_the_codes_back_when_it_loads_the_graph(
    graph: onnx.ModelProto, workshop: Workshop, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(quantize(graph, workshop).SerializeToString(), options)
    names = {name for node in onnx.load(tmp_path / "loaded.onnx").graph.node for name in node.input}
    assert not [name for name in names if name.endswith(("_codes", "_step"))]


def test_each_layer_may_have_its_step(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(
        CompressionFailed, match="steps has 1 numbers, and the layers to quantize are"
    ) as refused:
        quantize(graph, workshop, steps=[0.5])
    count = int(str(refused.value).split("are ")[1].split(":")[0])
    given = [0.01 * (n + 1) for n in range(count)]
    made = quantize(graph, workshop, steps=given)
    stored = {float(one) for name, one in weights(made).items() if name.endswith("_step")}
    assert stored == {float(np.float32(step)) for step in given}


def test_the_last_layers_are_quantized_only_when_asked(graph: onnx.ModelProto, workshop: Workshop) -> None:
    last = {node.input[1] for node in last_dense_nodes(graph)}
    assert last <= weights(quantize(graph, workshop)).keys()
    assert not last & weights(quantize(graph, workshop, keep_last=False)).keys()
