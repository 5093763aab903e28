"""Some training rows, run through a module with their labels: what importances are measured on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoding import Array
from app.training.rows import Rows

_ROWS = 8192
_BATCH = 1024


def losses(module: nn.Module, rows: Rows, seed: int) -> Iterator[Tensor]:
    """The summed binary cross entropy of some rows at a time, drawn by `seed`, in evaluation mode.

    Each can be differentiated until the next one is asked for.
    """
    drawn = np.random.default_rng(seed).permutation(len(rows))[:_ROWS]
    module.eval()
    for start in range(0, len(drawn), _BATCH):
        some = drawn[start : start + _BATCH]
        logits = module(tensors(rows, some), torch.arange(len(some)))
        yield functional.binary_cross_entropy_with_logits(
            logits, torch.from_numpy(rows.labels[some]), reduction="sum"
        )


def tensors(rows: Rows, some: Array) -> dict[str, Tensor]:
    """Every feature of the given rows, each row a request with one candidate."""
    return {name: torch.from_numpy(values) for name, values in rows.inputs(some).items()}


@contextmanager
def recorded(layers: Sequence[nn.Module], which: Literal["given", "gave"]) -> Iterator[dict[int, Any]]:
    """What each layer was given first, or what it gave, at its latest run, by the identity of the layer."""
    found: dict[int, Any] = {}

    def recorder(layer: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def record(_: nn.Module, given: tuple[Any, ...], gave: Any) -> None:
            found[id(layer)] = given[0] if which == "given" else gave

        return record

    hooks = [layer.register_forward_hook(recorder(layer)) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
