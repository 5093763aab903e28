"""The parts of the small model, made once. Nobody may change them: that is what the contract suite proves of steps."""

from pathlib import Path

import onnx
import pytest
from app.compression.subject import Subject
from app.compression.workshop import Workshop
from app.training.rows import Prepared

from tests.compression.parts import graph_of, ready_model, subject_of, workshop_of
from tests.small_model import SmallModel


@pytest.fixture(scope="session")
def subject(small_model: SmallModel) -> Subject:
    return subject_of(small_model)


@pytest.fixture(scope="session")
def graph(small_model: SmallModel) -> onnx.ModelProto:
    """The fp32 graph of the small model."""
    return graph_of(small_model)


@pytest.fixture(scope="session")
def prepared(subject: Subject) -> Prepared:
    assert subject.prepared is not None
    return subject.prepared


@pytest.fixture(scope="session")
def compressed(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory
) -> SmallModel:
    """The small model as a ready graph, compressed once. It is shared: `copy` it before you change it."""
    ready = ready_model(small_model, graph, tmp_path_factory.mktemp("ready"))
    ready.compress()
    return ready


@pytest.fixture
def ready(compressed: SmallModel, tmp_path: Path) -> SmallModel:
    """A copy of it."""
    return compressed.copy(tmp_path)


@pytest.fixture
def workshop(subject: Subject) -> Workshop:
    return workshop_of(subject)
