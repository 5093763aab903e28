"""The Linear layers of a module as its graph will have them: those that run for a score, and those that give it."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

# What stands between a product and the weight that it is told to multiply by.
_TURNED = ("TBackward0", "TransposeBackward0", "PermuteBackward0")


def inner_linears(module: nn.Module, inputs: Mapping[str, Tensor], row_request: Tensor) -> list[nn.Linear]:
    """The layers that run for these inputs, in order of the module, but for those that give the score.

    From the last ones the logit is reached without another Linear on the way; a graph's counterpart is
    `last_dense_nodes`.
    """
    linears = {id(one.weight): one for one in module.modules() if isinstance(one, nn.Linear)}
    trained = {number: one.weight.requires_grad for number, one in linears.items()}
    module.eval()
    try:
        for one in linears.values():
            one.weight.requires_grad_(True)
        with torch.enable_grad():
            logits: Tensor = module(inputs, row_request)
        run, last = _met(logits.grad_fn, linears)
    finally:
        for number, one in linears.items():
            one.weight.requires_grad_(trained[number])
    return [one for one in linears.values() if one in run and one not in last]


def _met(start: Node | None, linears: Mapping[int, nn.Linear]) -> tuple[set[nn.Linear], set[nn.Linear]]:
    """All layers that a value depends on, and those from which it is reached without another one on the way."""
    run, last = set[nn.Linear](), set[nn.Linear]()
    # Products on the way to the value are looked behind too, but what lies there is not last.
    open_nodes, met = [(start, True)], set[tuple[Node, bool]]()
    while open_nodes:
        node, first = open_nodes.pop()
        if node is None or (node, first) in met:
            continue
        met.add((node, first))
        sources = [source for source, _ in node.next_functions]
        found = {linears[id(one)] for one in _variables(sources) if id(one) in linears}
        run |= found
        if first:
            last |= found
        open_nodes += [(source, first and not found) for source in sources]
    return run, last


def _variables(sources: list[Node | None]) -> Iterator[Tensor]:
    for source in sources:
        node = source
        while node is not None and node.name() in _TURNED:
            node = node.next_functions[0][0]
        if node is not None and hasattr(node, "variable"):
            yield node.variable
