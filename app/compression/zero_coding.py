"""Weights without their zeros: a bit for each weight, and the values of those that are not zero.

The graph makes the whole weight from them again, with operators of ONNX alone. onnxruntime does that once, when it
loads the graph, and computes with the whole weight afterwards. ONNX has sparse weights of its own, which onnxruntime
makes whole as well: their lists of places take 8 bytes for each value that is left, which is less than one bit for each
weight only where fewer than one value in 64 is left.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.encoding import Array

BITS = "slimrank.bits_of_a_byte"
"""Name of the weight [256, 8] that all weights of a graph are made with."""
_CONSTANTS: dict[str, Array] = {
    "slimrank.flat": np.array([-1], dtype=np.int64),
    "slimrank.first_axis": np.array(0, dtype=np.int64),
    "slimrank.start": np.array([0], dtype=np.int64),
}


def stored_bytes(values: Array) -> int:
    """Bytes that a weight takes without its zeros."""
    return -(-values.size // 8) + (int(np.count_nonzero(values)) + 1) * values.itemsize


def without_zeros(name: str, values: Array) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Weights, and nodes that make the value `name` of them: exactly `values`, but that a zero has no sign."""
    flat = values.reshape(-1)
    stored = {
        "mask": np.packbits(flat != 0, bitorder="little"),
        # Place 0 is what every zero looks up.
        "values": np.concatenate([np.zeros(1, values.dtype), flat[flat != 0]]),
        "size": np.array([flat.size], dtype=np.int64),
        "shape": np.array(values.shape, dtype=np.int64),
    }
    numbers, bits, flags, counts, places, whole, cut = (f"{name}.{one}" for one in _STEPS)
    nodes = [
        helper.make_node("Cast", [f"{name}.mask"], [numbers], to=TensorProto.INT32),
        helper.make_node("Gather", [BITS, numbers], [bits]),
        helper.make_node("Reshape", [bits, "slimrank.flat"], [flags]),
        helper.make_node("CumSum", [flags, "slimrank.first_axis"], [counts]),
        helper.make_node("Mul", [counts, flags], [places]),
        helper.make_node("Gather", [f"{name}.values", places], [whole]),
        helper.make_node("Slice", [whole, "slimrank.start", f"{name}.size"], [cut]),
        helper.make_node("Reshape", [cut, f"{name}.shape"], [name]),
    ]
    for node in nodes:
        node.name = f"{node.op_type}_{node.output[0]}"
    return [numpy_helper.from_array(one, f"{name}.{part}") for part, one in stored.items()], nodes


_STEPS = ("numbers", "bits", "flags", "counts", "places", "whole", "cut")


def shared_weights() -> list[onnx.TensorProto]:
    """What the nodes of every such weight read: once in a graph."""
    every = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    constants: dict[str, Array] = {BITS: every.astype(np.int32), **_CONSTANTS}
    return [numpy_helper.from_array(values, name) for name, values in constants.items()]
