"""A session over a real graph, and graphs that it refuses."""

from pathlib import Path

import numpy as np
import pytest
from app.encoding import Array
from app.errors import ArtifactCorrupt
from app.schema import FeatureSchema
from app.serving.session import Session
from onnx import TensorProto

from tests.samples import a_schema
from tests.serving.graphs import write_graph, write_no_graph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "tiny" / "baseline" / "0123456789abcdef"
    home.mkdir(parents=True)
    return home


def refusal(folder: Path, schema: FeatureSchema) -> str:
    with pytest.raises(ArtifactCorrupt) as raised:
        Session(folder, schema, threads=1, items={})
    return raised.value.message


def test_a_graph_gets_the_inputs_it_names_and_no_others(folder: Path) -> None:
    write_graph(folder, read="year")
    inputs: dict[str, Array] = {"year": np.array([1.5, 2.5], np.float32), "views": np.zeros(2, np.float32)}
    scores = Session(folder, a_schema(), threads=1, items={}).run(inputs, np.zeros(2, np.int64))
    assert scores.tolist() == [1.5, 2.5]


def test_a_graph_may_ask_to_which_request_a_row_belongs(folder: Path) -> None:
    write_graph(folder, read="row_request", kind=TensorProto.INT64)
    scores = Session(folder, a_schema(), threads=1, items={}).run({}, np.array([0, 0, 1], np.int64))
    assert scores.tolist() == [0, 0, 1]


def test_an_input_that_the_schema_does_not_have_is_refused(folder: Path) -> None:
    write_graph(folder, read="price")
    assert refusal(folder, a_schema()) == (
        "tiny/baseline/0123456789abcdef: the graph does not fit its schema"
    )


def test_a_graph_without_scores_is_refused(folder: Path) -> None:
    write_graph(folder, read="year", give="points")
    assert "does not fit its schema" in refusal(folder, a_schema())


def test_what_is_not_a_graph_is_refused_without_the_path_of_its_folder(folder: Path) -> None:
    for message in (refusal(folder, a_schema()), (write_no_graph(folder), refusal(folder, a_schema()))[1]):
        assert message.startswith("tiny/baseline/0123456789abcdef: onnxruntime cannot load the graph: ")
        assert str(folder.parents[2]) not in message
        assert "\n" not in message
