"""Two towers: a request vector and an item vector, scored by their dot product."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from app.encoding import Encoder
from app.training.architecture import Architecture, ArchitectureConfig, Width
from app.training.layers import MLP, FeatureEmbedding, spread
from app.training.narrowing import Kept


class TwoTowerConfig(ArchitectureConfig):
    """Sizes of both towers."""

    embedding_dimension: int = Field(default=16, ge=1, le=1024)
    hidden: tuple[Width, ...] = Field(default=(64,), min_length=1, description="Hidden widths of each tower.")
    out: int = Field(default=32, ge=1, le=1024, description="Length of the two vectors.")
    dropout: float = Field(default=0.0, ge=0, lt=1)


class TwoTower(nn.Module):
    """logit = request tower . item tower + a bias per item; the request tower runs once per request."""

    aligned = False

    def __init__(self, encoder: Encoder, config: TwoTowerConfig) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(encoder, config.embedding_dimension, config.tables)
        # A model without user and context features still has a request: a constant one.
        request_width = max(1, self.embedding.request_width)
        self.request_tower = MLP(None, request_width, config.hidden, config.dropout, config.out)
        self.item_tower = MLP(None, self.embedding.item_width, config.hidden, config.dropout, config.out + 1)

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        """Logits, float32 [num_candidates]."""
        request, item = self.embedding(inputs)
        item_out: Tensor = self.item_tower(item)
        if not self.embedding.request_features:
            constant = self.request_tower(item.new_ones((1, 1)))
            return torch.sum(constant * item_out[:, :-1], dim=1) + item_out[:, -1]
        spread_out = spread(self.request_tower(request), row_request)
        return torch.sum(spread_out * item_out[:, :-1], dim=1) + item_out[:, -1]

    def narrow(self, kept: Kept) -> None:
        """Leave only the columns that are kept, in place."""
        stays = self.embedding.narrow(kept)
        self.item_tower.narrow(stays.item)
        if self.embedding.request_features:
            self.request_tower.narrow(stays.request)


ARCHITECTURE = Architecture(
    name="two_tower",
    config=TwoTowerConfig,
    module=TwoTower,
    source="Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019",
)
