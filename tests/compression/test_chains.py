"""Chains of dense layers: removing neurons by hand gives what the same module gives with those neurons silenced."""

import copy
from collections.abc import Callable

import pytest
import torch
from app.compression.chains import Hidden, hidden_layers
from app.training.layers import MLP, SplitLinear
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

REQUESTS, ROWS = 3, 7
Module = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


def split_mlp() -> tuple[nn.Module, tuple[Tensor, ...]]:
    inputs = torch.randn(REQUESTS, 5), torch.randn(ROWS, 4), torch.arange(ROWS) % REQUESTS
    return MLP(5, 4, [6, 8], dropout=0.5), inputs


def mlp_without_a_request_side() -> tuple[nn.Module, tuple[Tensor, ...]]:
    inputs = torch.randn(REQUESTS, 0), torch.randn(ROWS, 4), torch.arange(ROWS) % REQUESTS
    return MLP(0, 4, [6, 8]), inputs


def plain_mlp() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return MLP(None, 5, [6, 8], out=3), (torch.randn(ROWS, 5),)


def sequential() -> tuple[nn.Module, tuple[Tensor, ...]]:
    layers = (nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 8, bias=False), nn.GELU())
    return nn.Sequential(*layers, nn.Linear(8, 2)), (torch.randn(ROWS, 5),)


ALL: dict[str, Module] = {
    one.__name__: one for one in (split_mlp, mlp_without_a_request_side, plain_mlp, sequential)
}


def silenced(layer: Hidden, kept: list[int]) -> None:
    """Let the reader see nothing of the neurons that are not kept."""
    gone = [neuron for neuron in range(layer.width) if neuron not in kept]
    with torch.no_grad():
        layer.reader.weight[:, gone] = 0


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@given(data=st.data())
def test_removed_neurons_are_worth_as_much_as_silent_ones(make: Module, data: st.DataObject) -> None:
    torch.manual_seed(0)
    module, inputs = make()
    narrow, silent = copy.deepcopy(module).eval(), copy.deepcopy(module).eval()
    for ours, theirs in zip(hidden_layers(narrow), hidden_layers(silent), strict=True):
        kept = sorted(data.draw(st.sets(st.integers(0, ours.width - 1), min_size=1)))
        ours.keep(torch.tensor(kept))
        silenced(theirs, kept)
        assert ours.width == len(kept)
        assert ours.incoming.shape[0] == len(kept)
    with torch.inference_mode():
        torch.testing.assert_close(narrow(*inputs), silent(*inputs))


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_each_hidden_layer_is_found_once_with_the_weights_that_make_it(make: Module) -> None:
    module, _ = make()
    found = hidden_layers(module)
    assert [layer.width for layer in found] == [6, 8]
    assert [layer.incoming.shape for layer in found] == [(6, found[0].incoming.shape[1]), (8, 6)]


def test_the_incoming_weights_of_a_split_layer_are_those_of_both_sides() -> None:
    module, _ = split_mlp()
    layer = hidden_layers(module)[0]
    assert isinstance(layer.writer, SplitLinear)
    assert layer.writer.request is not None
    sides = layer.incoming.detach().split([4, 5], dim=1)
    for side, linear in zip(sides, (layer.writer.item, layer.writer.request), strict=True):
        assert torch.equal(side, linear.weight)


@pytest.mark.parametrize(
    "between", [nn.LayerNorm(6), nn.BatchNorm1d(6), nn.Softmax(1), nn.Flatten(), nn.Sequential(nn.ReLU())]
)
def test_a_layer_that_mixes_neurons_ends_a_chain(between: nn.Module) -> None:
    assert hidden_layers(nn.Sequential(nn.Linear(5, 6), between, nn.Linear(6, 1))) == []


def test_chains_are_found_wherever_they_are() -> None:
    towers = nn.ModuleDict(
        {"a": nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 8)), "b": MLP(None, 8, [9])}
    )
    whole = nn.Sequential(towers["a"], nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 1))
    widths = [layer.width for layer in hidden_layers(nn.ModuleList([whole, towers]))]
    # What a nested chain gives may be read elsewhere too: it is not narrowed.
    assert sorted(widths) == [6, 8, 9]


def test_a_single_layer_has_nothing_hidden() -> None:
    assert hidden_layers(nn.Sequential(nn.Linear(5, 1))) == []
    assert hidden_layers(nn.ModuleList([nn.Linear(5, 6), nn.Linear(6, 1)])) == []
