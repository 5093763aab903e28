"""Every architecture can be a student, however small, and whatever it is taught by."""

from typing import Any

import numpy as np
import pytest
from app.compression.subject import Subject
from app.compression.technique import techniques
from app.training.architecture import architectures
from app.training.fit import predict
from app.training.graph_file import check_contract

from tests.compression.parts import subject_of, workshop_of
from tests.small_model import SmallModel

TINY = {"embedding_dimension": 4, "hidden": [8]}
EVERYTHING = {"list_share": 0.2, "temperature": 2.0, "hints": 0.1, "unlabelled": 1.0, "start": "teacher"}
SHORT = {"epochs": 3, "batch_size": 128, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def subject(small_model: SmallModel) -> Subject:
    return subject_of(small_model)


@pytest.mark.parametrize("further", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("architecture", sorted(architectures()))
def test_a_tiny_student_learns_the_teachers_order(
    subject: Subject, architecture: str, further: dict[str, Any]
) -> None:
    technique = techniques()["distill"]
    settings = {"architecture": architecture, "config": TINY, **SHORT, **further}
    student = technique.apply(subject.module, technique.configure(settings, "a test"), workshop_of(subject))
    assert subject.module is not None
    assert subject.prepared is not None
    ours, theirs = (predict(one, subject.prepared.test) for one in (student, subject.module))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.7
    size, full = (sum(one.numel() for one in module.parameters()) for module in (student, subject.module))
    assert size < full
    assert not student.training
    if further:  # an export takes seconds, and of what a student was taught by nothing is left in its graph
        check_contract(subject.export(student), subject.encoder.schema)
