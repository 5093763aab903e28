"""DCN-v2: explicit feature crosses of bounded degree beside, or before, a deep network."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from app.encoding import Encoder
from app.training.architecture import Architecture, ArchitectureConfig, Width
from app.training.cross_network import CrossNetwork
from app.training.layers import MLP, FeatureEmbedding
from app.training.narrowing import Kept, keep_inputs


class DCNv2Config(ArchitectureConfig):
    """Sizes of the network."""

    embedding_dimension: int = Field(default=16, ge=1, le=1024)
    hidden: tuple[Width, ...] = Field(
        default=(128, 64), min_length=1, description="Hidden widths of the deep part."
    )
    cross_layers: int = Field(default=2, ge=1, le=8)
    cross_rank: int | None = Field(default=None, ge=1, description="Rank of the cross matrices; None: full.")
    structure: Literal["parallel", "stacked"] = Field(
        default="parallel", description="Deep beside or after cross."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)


class DCNv2(nn.Module):
    """x_0 -> cross network and deep network -> logit."""

    aligned = False

    def __init__(self, encoder: Encoder, config: DCNv2Config) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(encoder, config.embedding_dimension, config.tables)
        widths = (self.embedding.request_width, self.embedding.item_width)
        self.cross = CrossNetwork(*widths, config.cross_layers, config.cross_rank)
        self.parallel = config.structure == "parallel"
        if self.parallel:
            self.head = nn.Linear(sum(widths), 1, bias=False)
            self.deep = MLP(*widths, config.hidden, config.dropout)
        else:
            self.deep = MLP(None, sum(widths), config.hidden, config.dropout)

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        """Logits, float32 [num_candidates]."""
        request, item = self.embedding(inputs)
        crossed = self.cross(request, item, row_request)
        logits: Tensor = (
            self.head(crossed) + self.deep(request, item, row_request)
            if self.parallel
            else self.deep(crossed)
        )
        return logits.squeeze(1)

    def narrow(self, kept: Kept) -> None:
        """Leave only the columns that are kept, in place."""
        stays = self.embedding.narrow(kept)
        self.cross.narrow(stays)
        if self.parallel:
            keep_inputs(self.head, stays.joined)
            self.deep.narrow(stays.request, stays.item)
        else:
            self.deep.narrow(stays.joined)


ARCHITECTURE = Architecture(
    name="dcn_v2",
    config=DCNv2Config,
    module=DCNv2,
    source="Wang et al., DCN V2, WWW 2021 (arXiv 2008.13535)",
)
