"""Weights in files as inputs of a graph: onnxruntime's tools write and load the whole graph several times."""

from collections.abc import Iterable

import onnx
from onnx import helper

from app.encoding import Array
from app.training.weights import is_external, mapped


def mapped_weights(model: onnx.ModelProto) -> dict[str, Array]:
    """The weights in files, mapped: what the inputs that `set_aside` makes are given."""
    return {one.name: mapped(one) for one in model.graph.initializer if is_external(one)}


def set_aside(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Make inputs of the weights in files, in place; gives these weights."""
    external = [one for one in model.graph.initializer if is_external(one)]
    kept = [one for one in model.graph.initializer if not is_external(one)]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for one in external:
        model.graph.input.append(helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)))
    return external


def put_back(model: onnx.ModelProto, tensors: Iterable[onnx.TensorProto]) -> None:
    """Undo `set_aside`, in place."""
    tensors = list(tensors)
    names = {one.name for one in tensors}
    inputs = [one for one in model.graph.input if one.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.graph.initializer.extend(tensors)
