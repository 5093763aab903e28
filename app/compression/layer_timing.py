"""How long one dense layer takes by itself, in float and quantized, on the values that a request brings to it."""

import time
from dataclasses import dataclass

import onnx

from app.compression.probe import Probe, between
from app.compression.profile import example_request
from app.encoding import Array, Encoder
from app.schema import ROW_REQUEST

_TURNS = 40
_WARM_UP = 3


@dataclass(frozen=True)
class Seconds:
    """The quickest run of each form: whatever else the machine does makes a run longer, never shorter."""

    quantized: float
    floating: float

    @property
    def gains(self) -> bool:
        """Whether the layer is quicker when it is quantized."""
        return self.quantized < self.floating

    def __str__(self) -> str:
        return f"{self.quantized * 1e6:.0f} us quantized, {self.floating * 1e6:.0f} us in float"


class LayerTiming:
    """Times dense layers of a graph on one request: layers of its request side have one row, others a row each."""

    def __init__(self, model: onnx.ModelProto, encoder: Encoder, candidates: int) -> None:
        self._model = model
        request = example_request(encoder, candidates, seed=candidates)
        self._inputs = {**request.inputs, ROW_REQUEST: request.row_request}

    def seconds(self, node: onnx.NodeProto, quantized: onnx.ModelProto) -> Seconds:
        """Both forms of the layer in turns, with one thread; `quantized` is the graph in which it is quantized."""
        source, target = node.input[0], node.output[0]
        feed = {source: self.value(source)}
        probes = [Probe(between(graph, source, target), [target]) for graph in (quantized, self._model)]
        taken: list[list[float]] = [[], []]
        for _ in range(_WARM_UP + _TURNS):
            for times, probe in zip(taken, probes, strict=True):
                times.append(_seconds(probe, feed))
        return Seconds(*(min(times) for times in taken))

    def value(self, name: str) -> Array:
        """What the request brings to a place of the graph, float32; an input may be such a place."""
        given = self._inputs.get(name)
        return Probe(self._model, [name]).run(self._inputs)[name] if given is None else given


def _seconds(probe: Probe, feed: dict[str, Array]) -> float:
    started = time.perf_counter()
    probe.run(feed)
    return time.perf_counter() - started
