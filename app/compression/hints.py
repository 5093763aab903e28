"""Hints: the student's last hidden layer learns to predict the teacher's (FitNets: Romero et al., arXiv 1412.6550).

The layers are found by their place, so that a student of any architecture can be given hints by any teacher that has
dense layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from app.compression.chains import hidden_layers
from app.errors import CompressionFailed

Inputs = dict[str, Tensor]
Recorded = Callable[[], Tensor]


class Hints(nn.Module):
    """A linear regressor from the student's last hidden neurons to the teacher's, and how far off it is."""

    def __init__(self, teacher: nn.Module, ours: Recorded, theirs: Recorded, example: Inputs) -> None:
        super().__init__()
        # Not a submodule: the teacher is not trained.
        self._ask: Callable[[Inputs], None] = lambda inputs: _run(teacher, inputs)
        self._ours, self._theirs = ours, theirs
        self._ask(example)
        wanted = theirs()
        self.regressor = nn.Linear(ours().shape[1], wanted.shape[1])
        self.variance = float(wanted.var(dim=0).mean().clamp(min=1e-6))

    def forward(self, inputs: Inputs) -> Tensor:
        """Mean squared error in units of the teacher's variance, for the rows that the student ran last."""
        self._ask(inputs)
        error: Tensor = (self.regressor(self._ours()) - self._theirs()).square().mean() / self.variance
        return error


@contextmanager
def hints(student: nn.Module, teacher: nn.Module, example: Inputs) -> Iterator[Hints]:
    """Hints for the time of teaching; both modules are watched, and are as before afterwards.

    Raises CompressionFailed when one of them has no hidden dense layer that a score needs.
    """
    student.eval()
    with _watched(student, "the student") as ours, _watched(teacher, "the teacher") as theirs:
        _run(student, example)
        yield Hints(teacher, ours, theirs, example)


def _run(module: nn.Module, inputs: Inputs) -> None:
    with torch.no_grad():
        module(inputs, torch.arange(len(next(iter(inputs.values())))))


@contextmanager
def _watched(module: nn.Module, who: str) -> Iterator[Recorded]:
    """What the readers of the last hidden layers were given at the latest run, side by side: [rows, neurons]."""
    layers = hidden_layers(module)
    writers = {id(layer.writer) for layer in layers}
    found: dict[int, Tensor] = {}

    def recorder(place: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0]
            # A layer may also run over the items of a history: [rows, ..., neurons].
            found[place] = values.reshape(len(values), -1, values.shape[-1]).mean(dim=1)

        return record

    def recorded() -> Tensor:
        if not found:
            raise CompressionFailed(f"{who} has no hidden dense layer to give or take hints: set hints to 0")
        return torch.cat([found[place] for place in sorted(found)], dim=1)

    last = [layer for layer in layers if id(layer.reader) not in writers]
    hooks = [layer.reader.register_forward_pre_hook(recorder(place)) for place, layer in enumerate(last)]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()
