"""Wide & Deep: a linear model that memorizes beside a deep network that generalizes."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor, nn

from app.encoding import Encoder
from app.training.architecture import Architecture, ArchitectureConfig, Width
from app.training.layers import MLP, FeatureEmbedding, LinearTerms
from app.training.narrowing import Kept


class WideAndDeepConfig(ArchitectureConfig):
    """Sizes of the network."""

    embedding_dimension: int = Field(default=16, ge=1, le=1024)
    hidden: tuple[Width, ...] = Field(
        default=(128, 64), min_length=1, description="Hidden widths of the deep part."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)


class WideAndDeep(nn.Module):
    """logit = linear terms + deep network."""

    aligned = False

    def __init__(self, encoder: Encoder, config: WideAndDeepConfig) -> None:
        super().__init__()
        self.wide = LinearTerms(encoder, config.tables)
        self.embedding = FeatureEmbedding(encoder, config.embedding_dimension, config.tables)
        self.deep = MLP(
            self.embedding.request_width, self.embedding.item_width, config.hidden, config.dropout
        )

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        """Logits, float32 [num_candidates]."""
        deep: Tensor = self.deep(*self.embedding(inputs), row_request)
        logits: Tensor = self.wide(inputs, row_request) + deep.squeeze(1)
        return logits

    def narrow(self, kept: Kept) -> None:
        """Leave only the columns that are kept, in place."""
        self.wide.narrow(kept)
        stays = self.embedding.narrow(kept)
        self.deep.narrow(stays.request, stays.item)


ARCHITECTURE = Architecture(
    name="wide_and_deep",
    config=WideAndDeepConfig,
    module=WideAndDeep,
    source="Cheng et al., Wide & Deep Learning for Recommender Systems, 2016 (arXiv 1606.07792)",
)
