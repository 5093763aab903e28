"""Tables multiplied by the first layer beforehand: an exact rewrite that turns products into look-ups and sums."""

import onnx
from pydantic import Field

from app.compression.folded_layers import fold_layers, view_of
from app.compression.technique import Technique, TechniqueConfig
from app.compression.workshop import Workshop
from app.errors import CompressionFailed


class FoldTablesConfig(TechniqueConfig):
    """Which tables are worth their bytes, and which values of a request are worth being spread wider."""

    max_growth: float = Field(
        default=8.0,
        ge=0,
        le=1024,
        description="A table is folded into a layer of at most this many times its dimension; 0 folds none.",
    )
    max_spread: float = Field(
        default=8.0,
        ge=0,
        le=1024,
        description="Request values are multiplied before they are spread, if that is at most so many times as wide.",
    )


def apply(model: onnx.ModelProto, config: FoldTablesConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with dense layers as sums of what each field adds; scores differ by rounding alone.

    Raises CompressionFailed when no layer can be rewritten.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    view = view_of(copy, workshop.encoder.schema, config.max_growth, config.max_spread)
    if not fold_layers(copy, view, lambda folding: folding.changes > 0):
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the graph has no dense layer over float32 tables, numbers or values of the request "
            "that could be rewritten; it comes before steps that quantize them, and `max_growth` and `max_spread` "
            "bound what is worth it"
        )
    return copy


TECHNIQUE = Technique(
    name="fold_tables",
    stage="graph",
    config=FoldTablesConfig,
    apply=apply,
    summary="Item tables multiplied by the first layer beforehand, and request values once per request: exact.",
    source="W [a; b] = W_a a + W_b b",
    needs_rows=False,
)
