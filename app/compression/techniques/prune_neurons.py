"""Structured pruning: hidden neurons are removed physically, the least important first, and the rest is tuned again."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from app.compression.chains import Hidden, hidden_layers
from app.compression.teaching import TeachingConfig, teach
from app.compression.technique import Technique
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.rows import Rows

# Widths that are multiples of 16 fill the vector registers of onnxruntime's kernels.
_MULTIPLE = 16
_PROBE_ROWS = 8192
_PROBE_BATCH = 1024


class PruneNeuronsConfig(TeachingConfig):
    """How much is kept, by what measure, and how the rest is tuned."""

    keep: float = Field(
        default=0.5, gt=0, lt=1, description="Share of each hidden layer's neurons that stays."
    )
    importance: Literal["taylor", "activation", "magnitude"] = Field(
        default="taylor",
        description="taylor: |activation * gradient|; activation: mean |activation| * norm of outgoing weights; "
        "magnitude: norms of incoming and outgoing weights.",
    )


def apply(module: nn.Module, config: PruneNeuronsConfig, workshop: Workshop) -> nn.Module:
    """The module with narrower hidden layers, tuned by distillation from the module that the recipe began with.

    Raises CompressionFailed when the module has no hidden layers that can be narrowed, or does not run with narrower
    ones, or when tuning diverges.
    """
    pruned = copy.deepcopy(module)
    layers = _that_run(pruned, workshop)
    if not layers:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the module has no hidden layers to narrow; it looks for MLPs of this project and for "
            "nn.Sequential chains of Linear layers"
        )
    workshop.progress(0.0, "measuring neurons")
    found = _IMPORTANCE[config.importance](pruned, layers, workshop)
    for layer, importance in zip(layers, found, strict=True):
        width = min(layer.width, max(_MULTIPLE, round(layer.width * config.keep / _MULTIPLE) * _MULTIPLE))
        layer.keep(torch.topk(importance, width).indices.sort().values)
    try:
        _that_run(pruned, workshop)
    except RuntimeError as error:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the module does not run with narrower layers: something besides an nn.Sequential uses "
            f"its hidden layers ({str(error).splitlines()[0]})"
        ) from error
    teach(pruned, config, workshop)
    return pruned


def _taylor(module: nn.Module, layers: list[Hidden], workshop: Workshop) -> list[Tensor]:
    """First-order estimate of what the loss loses without a neuron (Molchanov et al., 2019, equation 8)."""
    totals = [torch.zeros(layer.width) for layer in layers]
    for activations, loss in _probe(module, layers, workshop):
        # What the loss does not depend on has no gradient, and no importance.
        gradients = torch.autograd.grad(loss, activations, allow_unused=True)
        for total, values, gradient in zip(totals, activations, gradients, strict=True):
            if gradient is not None:
                total.add_(_summed((values * gradient).abs()))
    return totals


def _activation(module: nn.Module, layers: list[Hidden], workshop: Workshop) -> list[Tensor]:
    totals = [torch.zeros(layer.width) for layer in layers]
    for activations, _ in _probe(module, layers, workshop):
        for total, values in zip(totals, activations, strict=True):
            total.add_(_summed(values.abs()))
    return [total * _outgoing(layer) for total, layer in zip(totals, layers, strict=True)]


def _magnitude(module: nn.Module, layers: list[Hidden], workshop: Workshop) -> list[Tensor]:  # noqa: ARG001
    return [layer.incoming.detach().norm(dim=1) * _outgoing(layer) for layer in layers]


def _summed(values: Tensor) -> Tensor:
    """[rows, ..., width] -> [width]: a layer may also run over the items of a history."""
    return values.reshape(-1, values.shape[-1]).sum(dim=0).detach()


def _outgoing(layer: Hidden) -> Tensor:
    norms: Tensor = layer.reader.weight.detach().norm(dim=0)
    return norms


_IMPORTANCE: dict[str, Callable[[nn.Module, list[Hidden], Workshop], list[Tensor]]] = {
    "taylor": _taylor,
    "activation": _activation,
    "magnitude": _magnitude,
}


def _that_run(module: nn.Module, workshop: Workshop) -> list[Hidden]:
    """The hidden layers that are run for a score: a module may have others, such as a head for training alone."""
    layers, few = hidden_layers(module), np.arange(2)
    module.eval()
    with _recorded(layers) as activations, torch.inference_mode():
        module(_tensors(workshop.rows(TECHNIQUE.name), few), torch.arange(len(few)))
    return [layer for layer in layers if id(layer) in activations]


def _probe(
    module: nn.Module, layers: list[Hidden], workshop: Workshop
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Of some training rows at a time: each layer's activations [rows, ..., width], and the loss on the labels."""
    rows = workshop.rows(TECHNIQUE.name)
    drawn = np.random.default_rng(workshop.seed).permutation(len(rows))[:_PROBE_ROWS]
    module.eval()
    with _recorded(layers) as activations:
        for start in range(0, len(drawn), _PROBE_BATCH):
            some = drawn[start : start + _PROBE_BATCH]
            logits = module(_tensors(rows, some), torch.arange(len(some)))
            loss = functional.binary_cross_entropy_with_logits(
                logits, torch.from_numpy(rows.labels[some]), reduction="sum"
            )
            yield [activations[id(layer)] for layer in layers], loss


def _tensors(rows: Rows, some: Any) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in rows.inputs(some).items()}


@contextmanager
def _recorded(layers: list[Hidden]) -> Iterator[dict[int, Tensor]]:
    """What each reader is given at every run of the module, by the identity of its Hidden."""
    activations: dict[int, Tensor] = {}

    def recorder(layer: Hidden) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            activations[id(layer)] = given[0]

        return record

    hooks = [layer.reader.register_forward_pre_hook(recorder(layer)) for layer in layers]
    try:
        yield activations
    finally:
        for hook in hooks:
            hook.remove()


TECHNIQUE = Technique(
    name="prune_neurons",
    stage="module",
    config=PruneNeuronsConfig,
    apply=apply,
    summary="Whole neurons are removed from hidden layers by importance, and the rest is tuned again.",
    source="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (arXiv 1906.10771)",
    needs_rows=True,
)
