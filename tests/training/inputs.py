"""Random inputs of a graph: requests with candidates, together and one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from app.encoding import Array, Encoder
from app.schema import FeatureSchema, is_id, trailing_shape
from torch import Tensor, nn


@dataclass(frozen=True)
class Requests:
    """Encoded requests: what a module and its graph are given."""

    schema: FeatureSchema
    inputs: Mapping[str, Array]
    row_request: Array

    def one(self, request: int) -> "Requests":
        """That request alone."""
        rows = self.row_request == request
        inputs = {
            one.name: self.inputs[one.name][rows if one.per_candidate else slice(request, request + 1)]
            for one in self.schema.features
        }
        return Requests(self.schema, inputs, np.zeros(rows.sum(), dtype=np.int64))

    def tensors(self) -> tuple[dict[str, Tensor], Tensor]:
        inputs = {name: torch.from_numpy(np.array(values)) for name, values in self.inputs.items()}
        return inputs, torch.from_numpy(self.row_request)

    def logits(self, module: nn.Module) -> Array:
        with torch.inference_mode():
            logits: Array = module.eval()(*self.tensors()).numpy()
        return logits

    def scores(self, module: nn.Module) -> Array:
        return np.asarray(1 / (1 + np.exp(-self.logits(module).astype(np.float64))))


def requests_of(encoder: Encoder, counts: Sequence[int], seed: int = 0) -> Requests:
    """Requests with these numbers of candidates, whose rows are not in the order of the requests."""
    rng = np.random.default_rng(seed)
    row_request = rng.permutation(np.repeat(np.arange(len(counts), dtype=np.int64), counts))
    inputs = {}
    for feature in encoder.schema.features:
        shape = (len(row_request) if feature.per_candidate else len(counts), *trailing_shape(feature))
        if is_id(feature):
            values = rng.integers(encoder.cardinality(feature.name), size=shape)
            if len(shape) == 2:  # the used places of a list come first
                used = rng.integers(shape[1] + 1, size=(shape[0], 1))
                values = np.where(np.arange(shape[1]) < used, np.maximum(values, 1), 0)
            inputs[feature.name] = values
        else:
            inputs[feature.name] = rng.standard_normal(shape).astype(np.float32)
    return Requests(encoder.schema, inputs, row_request)


def with_large_weights(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that every input shows in: fresh tables are so small that a mistake would not."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 0.5 if parameter.ndim == 1 else 1.0 / parameter.shape[-1] ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.eval()
