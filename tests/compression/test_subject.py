"""The model that is compressed, loaded no further than needed."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from app.compression.subject import Subject
from app.errors import ConfigurationError
from app.model_card import ModelCard, read_card
from onnx import TensorProto, helper

from tests.compression.parts import edited
from tests.small_model import NAME, SmallModel

READY = {"source": {"kind": "onnx", "graph": "model.onnx"}}


@pytest.fixture
def ready(small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path) -> Subject:
    """The small model's graph as a ready one, with its weights in a file of their own."""
    content = read_card(small_model.models / NAME).model_dump(mode="json", by_alias=True) | READY
    card = ModelCard.model_validate({**content, "recipes": []})
    (tmp_path / "encoder.json").write_bytes((small_model.models / NAME / "encoder.json").read_bytes())
    copy = edited(graph, lambda one: None)
    onnx.save(
        copy, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=100
    )
    return Subject(card, tmp_path, small_model.cache)


def replace_graph(subject: Subject, graph: onnx.ModelProto) -> None:
    onnx.save(graph, subject.folder / "model.onnx")


def test_a_module_is_exported_as_it_was_published(subject: Subject, graph: onnx.ModelProto) -> None:
    assert subject.module is not None
    assert not subject.module.training
    content = subject.graph.SerializeToString(deterministic=True)
    assert content == graph.SerializeToString(deterministic=True)
    assert subject.graph is subject.graph, "it is exported once"


def test_a_ready_graph_is_read_with_its_external_data(ready: Subject, graph: onnx.ModelProto) -> None:
    assert ready.module is None
    assert ready.encoder.schema == ready.card.features
    read = ready.graph
    assert len(read.graph.initializer) == len(graph.graph.initializer)
    for ours, theirs in zip(read.graph.initializer, graph.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(ours), onnx.numpy_helper.to_array(theirs))


def test_rows_are_encoded_with_the_encoder_that_lies_beside_the_weights(ready: Subject) -> None:
    assert ready.prepared is not None
    assert ready.prepared.encoder is ready.encoder
    assert ready.prepared is ready.prepared, "they are read once"


def test_a_graph_without_its_external_data(ready: Subject) -> None:
    (ready.folder / "weights.bin").unlink()
    with pytest.raises(
        ConfigurationError, match=r"^model\.onnx is not an ONNX graph that can be used"
    ) as refused:
        _ = ready.graph
    assert "weights.bin" in refused.value.message
    assert str(ready.folder) not in refused.value.message


def test_a_graph_that_is_not_there(ready: Subject) -> None:
    (ready.folder / "model.onnx").unlink()
    with pytest.raises(
        ConfigurationError, match=r"the graph model\.onnx, or its external data, does not exist"
    ):
        _ = ready.graph


def test_a_graph_that_breaks_the_contract_is_refused_by_name(ready: Subject, graph: onnx.ModelProto) -> None:
    def another_input(copy: onnx.ModelProto) -> None:
        copy.graph.input.append(helper.make_tensor_value_info("mood", TensorProto.FLOAT, ["rows"]))

    replace_graph(ready, edited(graph, another_input))
    with pytest.raises(
        ConfigurationError, match="the graph has an input 'mood', which the schema does not have"
    ):
        _ = ready.graph


def test_an_encoder_is_needed_even_for_a_ready_graph(ready: Subject) -> None:
    (ready.folder / "encoder.json").unlink()
    with pytest.raises(
        ConfigurationError, match=r"encoder\.json does not exist; `slimrank train clicks` or "
    ):
        _ = ready.encoder


def test_without_data_there_are_no_rows(ready: Subject) -> None:
    bare = Subject(ready.card.model_copy(update={"data": None}), ready.folder, ready.folder)
    assert bare.prepared is None
    assert bare.graph.graph.node
