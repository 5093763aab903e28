"""Scores of a graph on disk."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from app.artifact import GRAPH_FILE
from app.compression.scorer import Scorer
from app.compression.subject import Subject
from app.errors import CompressionFailed
from app.training.fit import predict
from app.training.rows import Prepared
from onnx import helper

from tests.compression.parts import a_graph, edited, scorer_of, set_weight, weights

USERS = "embedding.tables.user_id.weight"


@pytest.fixture
def scorer(graph: onnx.ModelProto, tmp_path: Path) -> Scorer:
    return scorer_of(graph, tmp_path)


def test_scores_are_the_sigmoid_of_what_the_module_says(
    scorer: Scorer, subject: Subject, prepared: Prepared
) -> None:
    assert subject.module is not None
    wanted = 1 / (1 + np.exp(-predict(subject.module, prepared.test)))
    np.testing.assert_allclose(scorer.score_rows(prepared.test), wanted, atol=1e-6)


def test_any_number_of_rows_can_be_scored(scorer: Scorer, prepared: Prepared) -> None:
    every = scorer.score_rows(prepared.train)
    assert (every.shape, every.dtype) == ((len(prepared.train),), np.float32)
    for count in (0, 1, 999, 1000, 1001):
        some = scorer.score_rows(prepared.train.take(np.arange(count)))
        np.testing.assert_allclose(some, every[:count], atol=1e-6)


def test_a_request_with_many_candidates_scores_as_many_requests_with_one(
    scorer: Scorer, prepared: Prepared
) -> None:
    rows = prepared.test.inputs(np.arange(20))
    schema = prepared.encoder.schema
    shared = {one.name: rows[one.name][:1] for one in schema.request_features}
    repeated = {name: np.repeat(values, 20, axis=0) for name, values in shared.items()}
    together = scorer.run(rows | shared, np.zeros(20, dtype=np.int64))
    apart = scorer.run(rows | repeated, np.arange(20))
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_scores_that_are_not_numbers_are_refused(
    graph: onnx.ModelProto, prepared: Prepared, tmp_path: Path
) -> None:
    table = weights(graph)[USERS].copy()
    table[3] = np.nan
    broken = scorer_of(edited(graph, lambda copy: set_weight(copy, USERS, table)), tmp_path)
    with pytest.raises(CompressionFailed, match="scores that are not finite numbers"):
        broken.score_rows(prepared.train)


def test_a_graph_that_onnxruntime_does_not_know_is_refused_without_its_path(tmp_path: Path) -> None:
    def unknown(copy: onnx.ModelProto) -> None:
        copy.opset_import.add(domain="mine", version=1)

    nodes = [helper.make_node("Sparkle", ["x"], ["score"], domain="mine")]
    with pytest.raises(CompressionFailed) as refused:
        scorer_of(edited(a_graph(nodes, {}), unknown), tmp_path)
    assert refused.value.message.startswith("onnxruntime cannot load the graph: ")
    assert "Sparkle" in refused.value.message
    assert str(tmp_path) not in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("content", [None, b"", b"not a graph"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / GRAPH_FILE).write_bytes(content)
    with pytest.raises(CompressionFailed, match="onnxruntime cannot load the graph"):
        Scorer(tmp_path)


def test_a_graph_whose_table_is_too_small_is_refused(
    graph: onnx.ModelProto, prepared: Prepared, tmp_path: Path
) -> None:
    table = weights(graph)[USERS][:20]
    small = scorer_of(edited(graph, lambda copy: set_weight(copy, USERS, table)), tmp_path)
    with pytest.raises(CompressionFailed, match=r"^onnxruntime cannot run the graph: .*out of data bounds"):
        small.score_rows(prepared.train)
