"""Weights and activations rounded as later steps will round them, while a module is trained with them.

The forward pass sees rounded values and the backward pass none of the rounding: the straight-through estimator
(Bengio et al., 2013, arXiv 1308.3432), as in Jacob et al., 2018 (arXiv 1712.05877), section 3. Scales follow from the
values at every step, so nothing of them has to be learned.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from app.compression.row_codes import codes_of, ranges_of, values_of

Rounding = Callable[[Tensor], Tensor]
"""From float32 values to the nearest ones that can be stored, of the same shape."""


class StraightThrough(nn.Module):
    """Gives rounded values, and lets gradients pass as if they were not."""

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self._rounding = rounding

    def forward(self, values: Tensor) -> Tensor:
        """[...] -> [...]."""
        with torch.no_grad():
            change = self._rounding(values) - values
        return values + change


def per_output(largest_code: int) -> Rounding:
    """Symmetric integers up to `largest_code` with a scale for each output, as quantize_static has weights."""

    def rounded(weight: Tensor) -> Tensor:
        scale = weight.abs().amax(dim=1, keepdim=True) / largest_code
        return torch.round(weight / _positive(scale)) * scale

    return rounded


def per_block(bits: int, block_size: int) -> Rounding:
    """Symmetric integers with a scale for each block of an output's weights, as quantize_weights has them.

    The largest weight of a block has the lowest code, -2**(bits - 1), which has no counterpart above.
    """

    def rounded(weight: Tensor) -> Tensor:
        outputs, inputs = weight.shape
        padded = nn.functional.pad(weight, (0, -inputs % block_size))
        blocks = padded.reshape(outputs, -1, block_size)
        half = 2 ** (bits - 1)
        largest = blocks.gather(2, blocks.abs().argmax(dim=2, keepdim=True))
        scale = -largest / half
        codes = torch.round(blocks / torch.where(scale == 0, 1.0, scale)).clamp(-half, half - 1)
        values: Tensor = (codes * scale).reshape(outputs, -1)[:, :inputs]
        return values

    return rounded


def per_row(bits: int) -> Rounding:
    """Integers with a low and a step for each row, found by the search of quantize_tables."""

    def rounded(rows: Tensor) -> Tensor:
        values = rows.reshape(-1, rows.shape[-1]).numpy()
        ranges = ranges_of(values, bits, values.shape[1], search=True)
        return torch.from_numpy(values_of(codes_of(values, ranges, bits), ranges)).reshape(rows.shape)

    return rounded


def per_batch(values: Tensor) -> Tensor:
    """Unsigned 8-bit integers between the least and the largest value, and zero among them."""
    low, high = values.amin().clamp(max=0), values.amax().clamp(min=0)
    scale = _positive((high - low) / 255)
    zero_point = torch.round(-low / scale)
    return (torch.round(values / scale + zero_point).clamp(0, 255) - zero_point) * scale


@contextmanager
def rounded_weights(layers: Sequence[nn.Linear], rounding: Rounding) -> Iterator[None]:
    """Layers that compute with rounded weights; afterwards these are their weights."""
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", StraightThrough(rounding))
    try:
        yield
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


@contextmanager
def rounded_inputs(layers: Sequence[nn.Linear]) -> Iterator[None]:
    """Layers that read rounded activations, for as long as it lasts."""
    straight = StraightThrough(per_batch)

    def read(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (straight(given[0]), *given[1:])

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(read).remove)
        yield


@contextmanager
def rounded_tables(tables: Sequence[nn.Embedding], rounding: Rounding) -> Iterator[None]:
    """Tables whose rows are rounded when they are looked up; afterwards all of them are."""

    def look_up(table: nn.Module, given: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        assert isinstance(table, nn.Embedding)
        with torch.no_grad():
            # Frequent rows come many times in a batch, and are rounded once.
            different, places = torch.unique(given[0], return_inverse=True)
            change = rounding(table.weight[different])[places] - rows
        return rows + change

    with ExitStack() as hooks:
        for table in tables:
            hooks.callback(table.register_forward_hook(look_up).remove)
        yield
    with torch.no_grad():
        for table in tables:
            table.weight.copy_(rounding(table.weight))


def _positive(scale: Tensor) -> Tensor:
    """The scale, or 1 where all values are 0."""
    return torch.where(scale > 0, scale, 1.0)
