"""The parts of the small model, made once. Nobody may change them: that is what the contract suite proves of steps."""

import onnx
import pytest
from app.compression.subject import Subject
from app.compression.workshop import Workshop
from app.training.rows import Prepared

from tests.compression.parts import subject_of, workshop_of
from tests.small_model import SmallModel


@pytest.fixture(scope="session")
def subject(small_model: SmallModel) -> Subject:
    return subject_of(small_model)


@pytest.fixture(scope="session")
def graph(subject: Subject) -> onnx.ModelProto:
    """The fp32 graph of the small model."""
    return subject.graph()


@pytest.fixture(scope="session")
def prepared(subject: Subject) -> Prepared:
    assert subject.prepared is not None
    return subject.prepared


@pytest.fixture
def workshop(subject: Subject) -> Workshop:
    return workshop_of(subject)
