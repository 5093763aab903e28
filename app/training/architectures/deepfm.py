"""DeepFM: a factorization machine and a deep network over the same embeddings."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor, nn

from app.encoding import Encoder
from app.training.architecture import Architecture, ArchitectureConfig, Width
from app.training.layers import MLP, FeatureEmbedding, LinearTerms, spread
from app.training.narrowing import Kept


class DeepFMConfig(ArchitectureConfig):
    """Sizes of the network."""

    embedding_dimension: int = Field(default=16, ge=1, le=1024)
    hidden: tuple[Width, ...] = Field(
        default=(128, 64), min_length=1, description="Hidden widths of the deep part."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)


class DeepFM(nn.Module):
    """logit = first-order terms + pairwise products + deep network."""

    aligned = True

    def __init__(self, encoder: Encoder, config: DeepFMConfig) -> None:
        super().__init__()
        self.linear = LinearTerms(encoder, config.tables)
        self.embedding = FeatureEmbedding(encoder, config.embedding_dimension, config.tables)
        self.deep = MLP(
            self.embedding.request_width, self.embedding.item_width, config.hidden, config.dropout
        )

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        """Logits, float32 [num_candidates]."""
        request, item = self.embedding(inputs)
        deep: Tensor = self.deep(request, item, row_request)
        logits: Tensor = self.linear(inputs, row_request) + deep.squeeze(1)
        return logits + self._pairs(request, item, row_request)

    def narrow(self, kept: Kept) -> None:
        """Leave only the columns that are kept, in place."""
        self.linear.narrow(kept)
        stays = self.embedding.narrow(kept)
        self.deep.narrow(stays.request, stays.item)

    def _pairs(self, request: Tensor, item: Tensor, row_request: Tensor) -> Tensor:
        """Sum of the dot products of all pairs of fields: half of (square of sum - sum of squares).

        Both sums are split by side, so the request's share of each is computed once per request.
        """
        dimension = self.embedding.dimension
        sides = [side.reshape(side.shape[0], -1, dimension) for side in (request, item)]
        request_sum, item_sum = (side.sum(dim=1) for side in sides)
        request_squares, item_squares = ((side * side).sum(dim=(1, 2)) for side in sides)
        if self.embedding.request_features:
            item_sum = item_sum + spread(request_sum, row_request)
            item_squares = item_squares + spread(request_squares, row_request)
        pairs: Tensor = 0.5 * ((item_sum * item_sum).sum(dim=1) - item_squares)
        return pairs


ARCHITECTURE = Architecture(
    name="deepfm",
    config=DeepFMConfig,
    module=DeepFM,
    source="Guo et al., DeepFM, IJCAI 2017 (arXiv 1703.04247)",
)
