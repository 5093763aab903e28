"""Chains of dense layers whose hidden neurons nobody else sees: what structured pruning may narrow."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from app.training.layers import MLP, SplitLinear
from app.training.narrowing import keep_inputs, keep_outputs

# What may stand between two dense layers of a plain nn.Sequential: it looks at each neuron alone.
_ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Dropout, nn.Identity)


@dataclass(frozen=True)
class Hidden:
    """One hidden layer: `writer` makes its neurons, `reader` alone reads them."""

    writer: nn.Linear | SplitLinear
    reader: nn.Linear

    @property
    def width(self) -> int:
        """Number of neurons."""
        return self.reader.in_features

    @property
    def incoming(self) -> Tensor:
        """The weights that make each neuron: [width, inputs]."""
        if isinstance(self.writer, nn.Linear):
            return self.writer.weight
        parts = [self.writer.item.weight]
        if self.writer.request is not None:
            parts.append(self.writer.request.weight)
        return torch.cat(parts, dim=1)

    def keep(self, neurons: Tensor) -> None:
        """Leave only these neurons (int64, ascending), in place."""
        if isinstance(self.writer, nn.Linear):
            keep_outputs(self.writer, neurons)
        else:
            keep_outputs(self.writer.item, neurons)
            if self.writer.request is not None:
                keep_outputs(self.writer.request, neurons)
        keep_inputs(self.reader, neurons)


def hidden_layers(module: nn.Module) -> list[Hidden]:
    """Every hidden layer of the module's MLPs, and of its plain nn.Sequential chains of Linear layers."""
    found = []
    for one in module.modules():
        if isinstance(one, MLP):
            layers = list(one.layers)
            for writer, reader in pairwise(layers):
                assert isinstance(writer, nn.Linear | SplitLinear)
                assert isinstance(reader, nn.Linear)
                found.append(Hidden(writer, reader))
        elif isinstance(one, nn.Sequential):
            found += _of_sequential(one)
    return found


def _of_sequential(sequential: nn.Sequential) -> list[Hidden]:
    found = []
    writer: nn.Linear | None = None
    for layer in sequential:
        if isinstance(layer, nn.Linear):
            if writer is not None:
                found.append(Hidden(writer, layer))
            writer = layer
        elif not isinstance(layer, _ELEMENTWISE):
            writer = None
    return found
