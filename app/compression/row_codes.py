"""Rows of numbers as small integers: each block of a row is `low + step * code`, with a low and a step of its own.

The range is the block's own, or is searched for the least squared error: with few codes it pays to clip what lies far
out (Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019, arXiv 1911.02079).
"""

from dataclasses import dataclass

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
    """float32 [rows, blocks]: the distance of neighbouring codes; 0 where all values of a block are equal."""

    def stored_as(self, dtype: type[np.floating]) -> "Ranges":
        """The ranges that are left when they are stored in another type."""
        return Ranges(*(one.astype(dtype).astype(np.float32) for one in (self.low, self.step)))

    def slice(self, start: int, stop: int) -> "Ranges":
        """Those of some rows."""
        return Ranges(self.low[start:stop], self.step[start:stop])


def ranges_of(values: Array, bits: int, block: int, *, search: bool) -> Ranges:
    """The ranges of float32 [rows, dimension], whose `dimension` is a multiple of `block`.

    A search alternates between the nearest code of every value and the low and step that fit these codes best by least
    squares, from several starts; it never ends above the squared error of the block's own range.
    """
    blocks = _in_blocks(values, block)
    lowest, highest = blocks.min(axis=2), blocks.max(axis=2)
    levels = np.float32(2**bits - 1)
    best = Ranges(lowest, (highest - lowest) / levels)
    if not search:
        return best
    least = _squared_error(blocks, best, bits)
    middle, half = (highest + lowest) / 2, (highest - lowest) / 2
    for share in _STARTS:
        found = Ranges(middle - np.float32(share) * half, np.float32(2 * share) * half / levels)
        for _ in range(_STEPS):
            found = _fitted(blocks, _codes(blocks, found, bits), found)
            error = _squared_error(blocks, found, bits)
            better = error < least
            least = np.where(better, error, least)
            best = Ranges(np.where(better, found.low, best.low), np.where(better, found.step, best.step))
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


def fit_in_fp16(ranges: Ranges) -> bool:
    """Whether fp16 moves no low by more than a quarter of its step, and no step by more than 1/512 of itself."""
    with np.errstate(over="ignore"):
        stored = ranges.stored_as(np.float16)
    moved = np.abs(stored.low - ranges.low) <= ranges.step / 4
    stretched = np.abs(stored.step - ranges.step) <= ranges.step / 512
    return bool((moved & stretched).all())


def _in_blocks(values: Array, block: int) -> Array:
    return values.reshape(len(values), values.shape[1] // block, block)


def _codes(blocks: Array, ranges: Ranges, bits: int) -> Array:
    """The codes as float32 [rows, blocks, block]."""
    step = np.where(ranges.step > 0, ranges.step, np.float32(1))
    found = np.rint((blocks - ranges.low[:, :, None]) / step[:, :, None])
    return np.clip(found, 0, 2**bits - 1, out=found)


def _squared_error(blocks: Array, ranges: Ranges, bits: int) -> Array:
    found = _codes(blocks, ranges, bits)
    found *= ranges.step[:, :, None]
    found += ranges.low[:, :, None]
    found -= blocks
    error: Array = np.einsum("rbi,rbi->rb", found, found)
    return error


def _fitted(blocks: Array, codes: Array, before: Ranges) -> Ranges:
    """The low and step of least squared error for given codes: the line through (code, value) of each block."""
    code_mean, mean = codes.mean(axis=2), blocks.mean(axis=2)
    spread = codes - code_mean[:, :, None]
    variance = np.einsum("rbi,rbi->rb", spread, spread)
    covariance = np.einsum("rbi,rbi->rb", spread, blocks)
    fits = (variance > 0) & (covariance > 0)
    step = np.where(fits, covariance / np.where(fits, variance, np.float32(1)), before.step)
    return Ranges(np.where(fits, mean - step * code_mean, before.low), step)
