"""The linear quantizer: integer codes on a grid of equal steps, and the values that the codes stand for."""

import numpy as np

from app.encoding import Array
from app.errors import CompressionFailed

_INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32)


def linear_codes(values: Array, step: float, nearest: bool = False) -> Array:
    """`floor(values / step)`, or the nearest integers, in the smallest integer type that holds them all.

    Raises CompressionFailed where a value is not finite, or a code does not fit 32 bits.
    """
    quotients = np.asarray(values, dtype=np.float64) / step
    codes = np.rint(quotients) if nearest else np.floor(quotients)
    if not np.isfinite(codes).all():
        raise CompressionFailed("a weight is not a finite number, and has no code")
    for kind in _INTEGERS:
        limits = np.iinfo(kind)
        if codes.size == 0 or (codes.min() >= limits.min and codes.max() <= limits.max):
            return codes.astype(kind)
    raise CompressionFailed(f"codes with the step {step:g} do not fit 32 bits: choose a larger step")


def linear_values(codes: Array, step: float) -> Array:
    """`codes * step`, float32."""
    return codes.astype(np.float32) * np.float32(step)


def step_of(values: Array, bits: int) -> float:
    """The step with which the largest magnitude has the largest code of `bits` bits; 1 where all values are 0."""
    largest = float(np.abs(values).max(initial=0.0))
    # float32, which the graph multiplies by: codes must be made with the very step that turns them back.
    return float(np.float32(largest / (2 ** (bits - 1) - 1))) or 1.0
