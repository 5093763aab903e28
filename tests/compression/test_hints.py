"""Hints: what the student's last hidden layer says of the teacher's."""

import pytest
import torch
from app.compression.hints import hints
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.architecture import architectures, build
from torch import Tensor, nn

Inputs = dict[str, Tensor]


@pytest.fixture
def example(workshop: Workshop) -> Inputs:
    rows = workshop.rows("a test")
    values = rows.inputs(torch.arange(64).numpy())
    return {name: torch.from_numpy(one) for name, one in values.items()}


class Shallow(nn.Module):
    """A student without a hidden layer."""

    def forward(self, inputs: Inputs, row_request: Tensor) -> Tensor:  # noqa: ARG002
        return torch.zeros(len(row_request))


@pytest.mark.parametrize("architecture", sorted(architectures()))
def test_a_student_of_any_architecture_takes_hints(
    workshop: Workshop, example: Inputs, architecture: str
) -> None:
    torch.manual_seed(0)
    student = build(architecture, {}, workshop.encoder)
    with hints(student, workshop.teacher, example) as given:
        optimizer = torch.optim.Adam([*given.parameters(), *student.parameters()], lr=0.03)
        errors = []
        for _ in range(60):
            student(example, torch.arange(64))
            error = given(example)
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            errors.append(float(error.detach()))
    assert errors[-1] < 0.9 * errors[0]
    assert all(not one._forward_pre_hooks for two in (student, workshop.teacher) for one in two.modules())


def test_the_teacher_gives_itself_what_can_be_learned_exactly(workshop: Workshop, example: Inputs) -> None:
    teacher = workshop.teacher
    with hints(teacher, teacher, example) as given, torch.no_grad():
        width = given.regressor.in_features
        given.regressor.weight.copy_(torch.eye(width))
        given.regressor.bias.zero_()
        teacher(example, torch.arange(64))
        assert float(given(example)) == 0


def test_a_module_without_hidden_layers_says_so(workshop: Workshop, example: Inputs) -> None:
    with (
        pytest.raises(CompressionFailed, match="the student has no hidden dense layer"),
        hints(Shallow(), workshop.teacher, example),
    ):
        pass
