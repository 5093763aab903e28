"""Weights that a student takes of its teacher."""

from typing import Any

import pytest
import torch
from app.compression.inherit import inherit
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.architecture import build
from app.training.fit import predict
from torch import nn

# The small model is a dcn_v2 of dimension 8 and hidden widths 32 and 16.


def student_of(workshop: Workshop, architecture: str = "dcn_v2", **config: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(architecture, config, workshop.encoder)


def test_the_same_shape_is_the_teacher_itself(workshop: Workshop) -> None:
    student = student_of(workshop, embedding_dimension=8, hidden=[32, 16])
    inherit(student, workshop.teacher)
    rows = workshop.rows("a test")
    assert (predict(student, rows) == predict(workshop.teacher, rows)).all()


def test_narrow_tables_with_their_first_layer_come_close_to_the_wide_ones(workshop: Workshop) -> None:
    """The deep part reads the tables through one projection, and the best one for its width."""
    inputs = {
        name: torch.from_numpy(one)
        for name, one in workshop.rows("a test").inputs(torch.arange(200).numpy()).items()
    }
    far = []
    for dimension in (2, 4, 7):
        student = student_of(workshop, embedding_dimension=dimension, hidden=[32, 16])
        inherit(student, workshop.teacher)
        with torch.no_grad():
            ours, theirs = (
                one.deep(*one.embedding(inputs), torch.arange(200)) for one in (student, workshop.teacher)
            )
        far.append(float((ours - theirs).norm() / theirs.norm()))
    assert far[0] > far[1] > far[2]
    assert far[2] < 0.2


def test_fewer_neurons_are_the_strongest_of_the_teachers(workshop: Workshop) -> None:
    student = student_of(workshop, embedding_dimension=8, hidden=[20, 16])
    inherit(student, workshop.teacher)
    ours, theirs = (one.deep.layers[0].item.bias for one in (student, workshop.teacher))
    assert set(ours.tolist()) < set(theirs.tolist())


def test_what_is_wider_than_the_teacher_stays_random(workshop: Workshop) -> None:
    student = student_of(workshop, embedding_dimension=8, hidden=[64, 16])
    before = student.deep.layers[0].item.weight.clone()
    inherit(student, workshop.teacher)
    assert torch.equal(student.deep.layers[0].item.weight, before)
    assert torch.equal(
        student.embedding.tables["user_id"].weight, workshop.teacher.embedding.tables["user_id"].weight
    )


@pytest.mark.parametrize("architecture", ["wide_and_deep", "deepfm", "two_tower", "dlrm"])
def test_another_architecture_takes_the_tables(workshop: Workshop, architecture: str) -> None:
    student = student_of(workshop, architecture, embedding_dimension=4)
    inherit(student, workshop.teacher)
    ours, theirs = (one.embedding.tables["item_id"].weight for one in (student, workshop.teacher))
    lengths = [one.norm(dim=1) for one in (ours, theirs)]
    assert torch.corrcoef(torch.stack(lengths))[0, 1] > 0.5


def test_a_teacher_that_has_nothing_in_common_says_so(workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match="no layer that the teacher has too"):
        inherit(student_of(workshop), nn.Linear(2, 2))
