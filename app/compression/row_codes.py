"""Rows of numbers as small integers: each block of a row is `low + step * code`, with a low and a step of its own.

A symmetric range has its zero at the middle code, 2**(bits - 1), so that its low need not be stored. It reaches one
step further to one side, and a negative step says that this is the upper one.

The range is the block's own, or is searched for the least squared error: with few codes it pays to clip what lies far
out (Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019, arXiv 1911.02079).
"""

from dataclasses import dataclass, replace

import numpy as np

from app.encoding import Array

# Shares of a block's range that a search starts from, and the steps of each search.
_STARTS = (1.0, 0.85, 0.7)
_STEPS = 4


@dataclass(frozen=True)
class Ranges:
    """Where the codes of each block lie."""

    low: Array
    """float32 [rows, blocks]: the value of code 0."""
    step: Array
    """float32 [rows, blocks]: from one code to the next; 0 where all values of a block are equal."""
    symmetric: bool = False
    """Whether every low is `-2**(bits - 1) * step`."""

    @classmethod
    def around_zero(cls, step: Array, bits: int) -> "Ranges":
        """Symmetric ranges."""
        return cls(-step * np.float32(2 ** (bits - 1)), step, symmetric=True)

    def stored_as(self, dtype: type[np.floating], bits: int) -> "Ranges":
        """The ranges that are left when they are stored in another type."""
        with np.errstate(over="ignore"):
            low, step = (one.astype(dtype).astype(np.float32) for one in (self.low, self.step))
        return Ranges.around_zero(step, bits) if self.symmetric else Ranges(low, step)

    def of(self, rows: Array | slice) -> "Ranges":
        """Those of some rows."""
        return replace(self, low=self.low[rows], step=self.step[rows])


def ranges_of(values: Array, bits: int, block: int, *, search: bool, symmetric: bool = False) -> Ranges:
    """The ranges of float32 [rows, dimension], whose `dimension` is a multiple of `block`.

    A search alternates between the nearest code of every value and the range that fits these codes best by least
    squares, from several starts; it never ends above the squared error of the block's own range.
    """
    blocks = _in_blocks(values, block)
    best = _whole_range(blocks, bits, symmetric=symmetric)
    if not search:
        return best
    whole, least = best, _squared_error(blocks, _codes(blocks, best, bits), best)
    for share in _STARTS:
        found = _shrunk(whole, np.float32(share), bits)
        codes = _codes(blocks, found, bits)
        for _ in range(_STEPS):
            found = _fitted(blocks, codes, found, bits)
            codes = _codes(blocks, found, bits)
            error = _squared_error(blocks, codes, found)
            better = error < least
            least = np.where(better, error, least)
            best = replace(
                best, low=np.where(better, found.low, best.low), step=np.where(better, found.step, best.step)
            )
    return best


def codes_of(values: Array, ranges: Ranges, bits: int) -> Array:
    """The nearest code of each value, uint8 [rows, dimension] below 2**bits; what lies beyond a range takes its end."""
    block = values.shape[1] // ranges.low.shape[1]
    return _codes(_in_blocks(values, block), ranges, bits).astype(np.uint8).reshape(values.shape)


def values_of(codes: Array, ranges: Ranges) -> Array:
    """What the codes stand for, float32 [rows, dimension]: a product is rounded before the sum, as in a graph."""
    block = codes.shape[1] // ranges.low.shape[1]
    blocks = _in_blocks(codes.astype(np.float32), block)
    found: Array = blocks * ranges.step[:, :, None] + ranges.low[:, :, None]
    return found.reshape(codes.shape)


def products_of(codes: Array, step: Array, bits: int) -> Array:
    """`step * (code - 2**(bits - 1))`, float32 [rows, dimension]: the values of a symmetric range."""
    blocks = _in_blocks(
        codes.astype(np.float32) - np.float32(2 ** (bits - 1)), codes.shape[1] // step.shape[1]
    )
    found: Array = blocks * step[:, :, None]
    return found.reshape(codes.shape)


def packed(codes: Array, bits: int) -> Array:
    """Codes uint8 [rows, n] side by side in bytes, uint8 [rows, n * bits / 8]; n is a multiple of 8 / bits.

    The row is cut in 8 / bits pieces, and byte i holds the i-th code of every piece, that of the first piece in its
    lowest bits: a graph then unpacks a whole piece at once.
    """
    count = 8 // bits
    pieces = codes.reshape(len(codes), count, codes.shape[1] // count)
    total = np.zeros((len(codes), pieces.shape[2]), dtype=np.uint8)
    for position in range(count):
        total |= pieces[:, position] << np.uint8(position * bits)
    return total


def unpacked(packed_codes: Array, bits: int) -> Array:
    """The inverse of `packed`."""
    mask = np.uint8(2**bits - 1)
    pieces = [(packed_codes >> np.uint8(at * bits)) & mask for at in range(8 // bits)]
    return np.concatenate(pieces, axis=1)


def fit_in_fp16(ranges: Ranges, bits: int) -> bool:
    """Whether fp16 moves no low by more than a quarter of its step, and no step by more than 1/512 of itself."""
    stored, step = ranges.stored_as(np.float16, bits), np.abs(ranges.step)
    moved = ranges.symmetric | (np.abs(stored.low - ranges.low) <= step / 4)
    stretched = np.abs(stored.step - ranges.step) <= step / 512
    return bool((moved & stretched).all())


def _in_blocks(values: Array, block: int) -> Array:
    return values.reshape(len(values), values.shape[1] // block, block)


def _codes(blocks: Array, ranges: Ranges, bits: int) -> Array:
    """The codes as float32 [rows, blocks, block]."""
    step = np.where(ranges.step != 0, ranges.step, np.float32(1))
    found: Array = blocks - ranges.low[:, :, None]
    found /= step[:, :, None]
    np.rint(found, out=found)
    np.maximum(found, np.float32(0), out=found)
    np.minimum(found, np.float32(2**bits - 1), out=found)
    return found


def _squared_error(blocks: Array, codes: Array, ranges: Ranges) -> Array:
    found = codes * ranges.step[:, :, None]
    found += ranges.low[:, :, None]
    found -= blocks
    error: Array = np.vecdot(found, found)
    return error


def _whole_range(blocks: Array, bits: int, *, symmetric: bool) -> Ranges:
    """From the smallest value to the largest."""
    lowest, highest = blocks.min(axis=2), blocks.max(axis=2)
    if not symmetric:
        return Ranges(lowest, (highest - lowest) / np.float32(2**bits - 1))
    far, near = np.float32(2 ** (bits - 1)), np.float32(2 ** (bits - 1) - 1)
    downward = -lowest >= highest
    step = np.where(
        downward, np.maximum(-lowest / far, highest / near), -np.maximum(highest / far, -lowest / near)
    )
    return Ranges.around_zero(step, bits)


def _shrunk(ranges: Ranges, share: np.float32, bits: int) -> Ranges:
    """A share of each range about the same middle."""
    step = ranges.step * share
    if ranges.symmetric:
        return Ranges.around_zero(step, bits)
    return Ranges(ranges.low + (ranges.step - step) * np.float32((2**bits - 1) / 2), step)


def _fitted(blocks: Array, codes: Array, before: Ranges, bits: int) -> Ranges:
    """The range of least squared error for given codes: of each block, the line through (code, value)."""
    if before.symmetric:
        spread = codes - np.float32(2 ** (bits - 1))
    else:
        code_mean, mean = codes.mean(axis=2), blocks.mean(axis=2)
        spread = codes - code_mean[:, :, None]
    variance, covariance = np.vecdot(spread, spread), np.vecdot(spread, blocks)
    fits = (variance > 0) & (covariance * before.step > 0)
    step = np.where(fits, covariance / np.where(fits, variance, np.float32(1)), before.step)
    if before.symmetric:
        return Ranges.around_zero(step, bits)
    return Ranges(np.where(fits, mean - step * code_mean, before.low), step)
