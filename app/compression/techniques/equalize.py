"""Cross-layer equalization as a step: it changes no score, and lets what quantizes next lose less."""

import numpy as np
import onnx
from onnx import numpy_helper
from pydantic import Field

from app.compression.equalization import equalize, find_pairs, stored_values
from app.compression.technique import Technique, TechniqueConfig
from app.compression.weights_aside import set_aside
from app.compression.workshop import Workshop
from app.errors import CompressionFailed


class EqualizeConfig(TechniqueConfig):
    """How far ranges are balanced."""

    rounds: int = Field(
        default=20, ge=1, le=1000, description="Most passes over all layers; it ends when nothing changes."
    )
    powers_of_two: bool = Field(
        default=True,
        description="Only factors that change no digit: scores stay the same to the last bit, and ranges become "
        "balanced up to a factor of 2.",
    )


def apply(model: onnx.ModelProto, config: EqualizeConfig, workshop: Workshop) -> onnx.ModelProto:  # noqa: ARG001
    """The graph with other weights and the same scores. Raises CompressionFailed when there is nothing to balance."""
    inside = onnx.ModelProto()
    inside.CopyFrom(model)
    # Weights in files stay as they are.
    set_aside(inside)
    pairs = find_pairs(inside)
    if not pairs:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has no two dense layers with nothing but a ReLU between them, besides those "
            "that give the score"
        )
    values = stored_values(inside, pairs)
    equalize(values, pairs, config.rounds, powers_of_two=config.powers_of_two)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
    return made


TECHNIQUE = Technique(
    name="equalize",
    stage="graph",
    config=EqualizeConfig,
    apply=apply,
    summary="Ranges of weights balanced across a ReLU, neuron by neuron: exact, for steps that quantize next.",
    source="Nagel et al., Data-Free Quantization, ICCV 2019 (arXiv 1906.04721), section 4.1",
    needs_rows=False,
)
