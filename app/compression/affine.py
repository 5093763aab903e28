"""The affine quantizer: 8-bit codes with a scale and a zero point, `value = scale * (code - zero_point)`."""

from dataclasses import dataclass

import numpy as np

from app.encoding import Array


@dataclass(frozen=True)
class Affine:
    """Codes, and what turns them back."""

    codes: Array
    """uint8, or int8 where ranges are symmetric; the shape of the values."""
    scale: Array
    """float32: of one number, or one for each slice along `axis`, shaped so that it broadcasts over the codes."""
    zero_point: Array
    """The code of 0, which is exact; the codes' type and the scale's shape."""

    def values(self) -> Array:
        """float32."""
        return (self.codes.astype(np.float32) - self.zero_point.astype(np.float32)) * self.scale


def affine(values: Array, axis: int | None, *, symmetric: bool) -> Affine:
    """Quantize values over their range, one for all of them or one for each slice along `axis` (Jacob et al., 2018).

    A range holds zero. Symmetric ones are as wide on both sides, and their zero point is 0.
    """
    others = tuple(one for one in range(values.ndim) if one != axis)
    low = np.minimum(values.min(axis=others, keepdims=True), 0).astype(np.float64)
    high = np.maximum(values.max(axis=others, keepdims=True), 0).astype(np.float64)
    kind: type[np.int8] | type[np.uint8] = np.int8 if symmetric else np.uint8
    scale = np.maximum(-low, high) / 127 if symmetric else (high - low) / 255
    # float32, which the graph multiplies by: codes must be made with the very scale that turns them back.
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    zero_point = np.zeros_like(scale) if symmetric else np.rint(-low / scale)
    limits = np.iinfo(kind)
    codes = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max)
    return Affine(codes.astype(kind), scale, zero_point.astype(kind))
