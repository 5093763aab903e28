"""From a torch module to an ONNX graph that keeps the graph contract.

Inputs are the schema's features by name, request features [num_requests, ...] and item features
[num_candidates, ...], and `row_request` int64 [num_candidates]; the output `score` is float32 [num_candidates], the
sigmoid of the logit. Features that a narrowed ranker does without have no input.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from app.encoding import Encoder
from app.errors import CompressionFailed, ConfigurationError
from app.schema import ROW_REQUEST, SCORE, Feature, is_id, trailing_shape
from app.training.graph_file import check_contract
from app.training.narrowable import Narrowable

OPSET = 21
NUM_REQUESTS = "num_requests"
NUM_CANDIDATES = "num_candidates"
# Sizes of the example: larger than 1, which torch.export takes for a constant, and different from each other.
_EXAMPLE_REQUESTS, _EXAMPLE_CANDIDATES = 3, 5


class _Scored(nn.Module):
    """The module with the sigmoid that turns its logits into scores."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.ranker = module

    def forward(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:
        return torch.sigmoid(self.ranker(inputs, row_request))


def export(module: nn.Module, encoder: Encoder) -> onnx.ModelProto:
    """Export a module in evaluation mode; equal weights give equal bytes. Raises CompressionFailed."""
    features = encoder.schema.features
    inputs = {feature.name: _example(feature) for feature in features}
    row_request = torch.zeros(_EXAMPLE_CANDIDATES, dtype=torch.int64)
    requests, candidates = Dim(NUM_REQUESTS), Dim(NUM_CANDIDATES)
    dynamic = {one.name: {0: candidates if one.per_candidate else requests} for one in features}
    scored = _Scored(module).eval()
    try:
        with _quiet():
            program = torch.onnx.export(
                scored,
                (inputs, row_request),
                dynamo=True,
                opset_version=OPSET,
                input_names=[*inputs, ROW_REQUEST],
                output_names=[SCORE],
                dynamic_shapes={"inputs": dynamic, "row_request": {0: candidates}},
                optimize=True,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise CompressionFailed(f"the module cannot be exported to ONNX: {reason}") from error
    assert program is not None
    graph = _tidied(program.model_proto)
    without = _without_inputs(graph, _not_read(module, encoder))
    try:
        # The exporter may take a size of the example for a constant, and say nothing of it.
        check_contract(graph, encoder.schema, without)
    except ConfigurationError as error:
        raise CompressionFailed(f"the module cannot be exported to ONNX: {error.message}") from error
    return graph


def _not_read(module: nn.Module, encoder: Encoder) -> set[str]:
    """The features that a narrowed ranker does without; any other module says nothing of them."""
    if not isinstance(module, Narrowable):
        return set()
    read = {one.name for one in (*module.embedding.request_features, *module.embedding.item_features)}
    return {one.name for one in encoder.schema.features} - read


def _without_inputs(graph: onnx.ModelProto, names: set[str]) -> set[str]:
    """Remove the inputs of these features that nothing reads, in place; gives those that were."""
    read = {source for node in graph.graph.node for source in node.input}
    gone = [one for one in graph.graph.input if one.name in names - read]
    for one in gone:
        graph.graph.input.remove(one)
    return {one.name for one in gone}


def _example(feature: Feature) -> Tensor:
    rows = _EXAMPLE_CANDIDATES if feature.per_candidate else _EXAMPLE_REQUESTS
    shape = (rows, *trailing_shape(feature))
    return torch.ones(shape, dtype=torch.int64) if is_id(feature) else torch.zeros(shape)


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter notes of its own run: stack traces with paths, versions, docs."""
    model.producer_name, model.producer_version, model.doc_string = "slimrank", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "ranker", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for position, node in enumerate(graph.node):
        node.doc_string = ""
        node.name = f"{node.op_type}_{position}"
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        _rename(model, tensor, tensor.name.removeprefix("ranker."))
    return model


def _rename(model: onnx.ModelProto, tensor: onnx.TensorProto, name: str) -> None:
    if name == tensor.name:
        return
    for node in model.graph.node:
        for position, source in enumerate(node.input):
            if source == tensor.name:
                node.input[position] = name
    tensor.name = name


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own chatter out of a job's log; its errors are exceptions and come through."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.fx")
    ]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            # Deprecations inside torch's exporter are not ours to mend.
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
