"""How a table of small codes stands in a graph: what is stored for each row, and the nodes that look a row up.

Two forms give the same values but for the rounding of a product:

- standard: operators of ONNX alone. `Gather` takes the packed codes of a row, shifts part them, and
  `Cast`, `Mul` by the step and `Add` of the low make float32 of them.
- contrib: onnxruntime's `GatherBlockQuantized` takes and multiplies the codes in one node; an `Add` follows. An index
  out of range gives it zeros where `Gather` raises, so what encodes ids must keep them in range, as the encoder does.

Neither has a DequantizeLinear before the Gather, which would turn the whole table to float at every call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from app.compression.row_codes import Ranges, packed, products_of, values_of
from app.encoding import Array

Encoding = Literal["standard", "contrib"]
SMALLEST_BLOCK = 16
CONTRIB_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Form:
    """The form of one table; `name` begins the names of its weights."""

    name: str
    encoding: Encoding
    bits: int
    dimension: int
    block: int
    """Values that share a low and a step; the dimension where that is a whole row."""
    ranges_type: type[np.floating]
    """float16 or float32."""
    symmetric: bool
    """Whether there is a step alone."""

    @property
    def blocks(self) -> int:
        """Ranges of a row."""
        return self.dimension // self.block

    @property
    def code_bytes(self) -> int:
        """Bytes of the codes of a row."""
        return -(-self.dimension * self.bits // 8)

    def row_bytes(self) -> int:
        """Bytes of a row with its ranges."""
        numbers = 1 if self.symmetric else 2
        return self.code_bytes + numbers * self.blocks * np.dtype(self.ranges_type).itemsize

    def stored(self, codes: Array, ranges: Ranges) -> dict[str, Array]:
        """What is stored of some rows, by the names of the weights: each [rows, its width]."""
        padding = self.code_bytes * 8 // self.bits - self.dimension
        codes = np.pad(codes, ((0, 0), (0, padding)))
        low = ranges.low
        if self.encoding == "contrib":
            codes = _pairwise(codes, self.bits)
            low = low + ranges.step * self._middle
        kept = {"codes": packed(codes, self.bits)}
        kept["step"] = ranges.step.astype(self.ranges_type)
        if not self.symmetric:
            kept["low"] = low.astype(self.ranges_type)
        return {f"{self.name}.{key}": values for key, values in kept.items()}

    def values(self, codes: Array, ranges: Ranges) -> Array:
        """What the nodes give for these rows, float32 [rows, dimension], in the order of their roundings."""
        if self.encoding == "standard" and not self.symmetric:
            return values_of(codes, ranges)
        products = products_of(codes, ranges.step, self.bits)
        if self.encoding == "contrib":
            products = products.astype(self.ranges_type).astype(np.float32)
        if self.symmetric:
            return products
        low = self.stored(codes, ranges)[f"{self.name}.low"].astype(np.float32)
        found: Array = products + np.repeat(low, self.block, axis=1)
        return found

    def nodes(self, indices: str, output: str) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
        """Nodes that give `output` [*shape of indices, dimension], and the constants that they read."""
        wanted = _Nodes(output)
        if self.encoding == "contrib":
            attributes = {"bits": self.bits, "block_size": self._contrib_block, "gather_axis": 0}
            product = wanted.add(
                "GatherBlockQuantized",
                [f"{self.name}.codes", indices, f"{self.name}.step"],
                domain=CONTRIB_DOMAIN,
                quantize_axis=1,
                **attributes,
            )
            product = self._in_float32(wanted, product)
        else:
            codes = wanted.add("Cast", [self._codes(wanted, indices)], to=TensorProto.FLOAT)
            if self.symmetric:
                codes = wanted.add("Sub", [codes, wanted.constant(np.array([self._middle]))])
            step = self._ranges(wanted, indices, "step")
            product = wanted.add("Mul", [self._by_block(wanted, codes, indices), step])
        total = product
        if not self.symmetric:
            if self.encoding == "contrib":
                product = self._by_block(wanted, product, indices)
            total = wanted.add("Add", [product, self._ranges(wanted, indices, "low")])
        if self.blocks > 1 and not (self.symmetric and self.encoding == "contrib"):
            total = self._reshaped(wanted, total, indices, [self.dimension])
        wanted.finish(total)
        return wanted.nodes, wanted.constants

    @property
    def _middle(self) -> np.float32:
        """The code that GatherBlockQuantized takes for zero."""
        return np.float32(2 ** (self.bits - 1))

    @property
    def _contrib_block(self) -> int:
        return max(SMALLEST_BLOCK, 1 << (self.block - 1).bit_length())

    def _codes(self, wanted: "_Nodes", indices: str) -> str:
        """The codes of the rows, uint8 [..., dimension]."""
        found = wanted.add("Gather", [f"{self.name}.codes", indices])
        if self.bits == 8:
            return found
        pieces = []
        for position in range(8 // self.bits):
            above, piece = 8 - self.bits * (position + 1), found
            if above:
                piece = wanted.add(
                    "BitShift", [piece, wanted.constant(np.array([above], dtype=np.uint8))], direction="LEFT"
                )
            shift = wanted.constant(np.array([8 - self.bits], dtype=np.uint8))
            pieces.append(wanted.add("BitShift", [piece, shift], direction="RIGHT"))
        whole = wanted.add("Concat", pieces, axis=-1)
        if self.code_bytes * 8 // self.bits == self.dimension:
            return whole
        bounds = [wanted.constant(np.array([one], dtype=np.int64)) for one in (0, self.dimension, -1)]
        return wanted.add("Slice", [whole, *bounds])

    def _ranges(self, wanted: "_Nodes", indices: str, which: str) -> str:
        """The lows or steps of the rows, float32 [..., 1], or [..., blocks, 1] where a row has several."""
        found = self._in_float32(wanted, wanted.add("Gather", [f"{self.name}.{which}", indices]))
        if self.blocks == 1:
            return found
        return self._reshaped(wanted, found, indices, [self.blocks, 1])

    def _in_float32(self, wanted: "_Nodes", value: str) -> str:
        return value if self.ranges_type is np.float32 else wanted.add("Cast", [value], to=TensorProto.FLOAT)

    def _by_block(self, wanted: "_Nodes", value: str, indices: str) -> str:
        if self.blocks == 1:
            return value
        return self._reshaped(wanted, value, indices, [self.blocks, self.block])

    @staticmethod
    def _reshaped(wanted: "_Nodes", value: str, indices: str, ends: list[int]) -> str:
        """The value with the shape of the indices, and then these sizes."""
        shape = [wanted.add("Shape", [indices]), wanted.constant(np.array(ends, dtype=np.int64))]
        return wanted.add("Reshape", [value, wanted.add("Concat", shape, axis=0)])


@dataclass
class _Nodes:
    """Nodes one after the other; the last one gives `output`."""

    output: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, kind: str, sources: list[str], **attributes: Any) -> str:
        """One more node; gives the name of its value."""
        found = f"{self.output}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, sources, [found], **attributes))
        return found

    def constant(self, values: Array) -> str:
        """The name of a constant; equal ones are there once."""
        for name, known in self.constants.items():
            if known.dtype == values.dtype and np.array_equal(known, values):
                return name
        name = f"{self.output}.constant{len(self.constants)}"
        self.constants[name] = values
        return name

    def finish(self, value: str) -> None:
        """Let the last value be the output."""
        assert self.nodes[-1].output[0] == value
        self.nodes[-1].output[0] = self.output


def _pairwise(codes: Array, bits: int) -> Array:
    """Codes so ordered that `packed` puts neighbours in one byte, as GatherBlockQuantized reads them."""
    count = 8 // bits
    pairs = codes.reshape(len(codes), codes.shape[1] // count, count)
    return pairs.transpose(0, 2, 1).reshape(codes.shape)


def block_of(dimension: int, granularity: str, block: int) -> int:
    """The largest power of two up to `block` that divides the dimension; the dimension where that is below 16."""
    if granularity == "per_row":
        return dimension
    while block >= SMALLEST_BLOCK and dimension % block:
        block //= 2
    return block if SMALLEST_BLOCK <= block < dimension else dimension


def weights_of(constants: Mapping[str, Array]) -> list[onnx.TensorProto]:
    """Constants as initializers."""
    return [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
