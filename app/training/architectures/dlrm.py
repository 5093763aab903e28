"""DLRM: embeddings interact by dot products, and a network on top mixes the results."""

from collections.abc import Mapping
from itertools import combinations

import torch
from pydantic import Field
from torch import Tensor, nn

from app.encoding import Encoder
from app.training.architecture import Architecture, ArchitectureConfig, Width
from app.training.layers import MLP, FeatureEmbedding, spread
from app.training.narrowing import Kept, pairs_that_stay


class DLRMConfig(ArchitectureConfig):
    """Sizes of the network."""

    embedding_dimension: int = Field(default=16, ge=1, le=1024)
    hidden: tuple[Width, ...] = Field(
        default=(128, 64), min_length=1, description="Hidden widths of the top network."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)


class DLRM(nn.Module):
    """Fields -> pairwise dot products, beside the fields themselves -> top network -> logit.

    Products within the request side are computed once per request, so the top network's first layer reads both the
    request's fields and its products on the request side.
    """

    aligned = True

    def __init__(self, encoder: Encoder, config: DLRMConfig) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(encoder, config.embedding_dimension, config.tables)
        request, item = len(self.embedding.request_features), len(self.embedding.item_features)
        request_width = self.embedding.request_width + request * (request - 1) // 2
        item_width = self.embedding.item_width + item * (item - 1) // 2 + request * item
        self.top = MLP(request_width, item_width, config.hidden, config.dropout)

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        """Logits, float32 [num_candidates]."""
        request, item = self.embedding.fields(inputs)
        request_side = torch.cat([request.flatten(1), _dots_within(request)], dim=1)
        parts = [item.flatten(1), _dots_within(item)]
        if self.embedding.request_features:
            parts.append(torch.bmm(spread(request, row_request), item.transpose(1, 2)).flatten(1))
        logits: Tensor = self.top(request_side, torch.cat(parts, dim=1), row_request)
        return logits.squeeze(1)

    def narrow(self, kept: Kept) -> None:
        """Leave only the columns that are kept, in place; products with a field that goes, go with it."""
        embedding = self.embedding
        sides = (embedding.request_features, embedding.item_features)
        (requests, items), widths = map(len, sides), (embedding.request_width, embedding.item_width)
        left, right = (kept.places([one.name for one in side]) for side in sides)
        across = torch.tensor([one * items + other for one in left for other in right], dtype=torch.int64)
        stays = embedding.narrow(kept)
        request = [stays.request, widths[0] + pairs_that_stay(left, requests)]
        within = items * (items - 1) // 2
        item = [stays.item, widths[1] + pairs_that_stay(right, items), widths[1] + within + across]
        self.top.narrow(torch.cat(request), torch.cat(item))


def _dots_within(fields: Tensor) -> Tensor:
    """Dot products of all pairs of fields: [rows, F, D] -> [rows, F (F - 1) / 2]."""
    count = fields.shape[1]
    if count < 2:
        return fields.new_zeros((fields.shape[0], 0))
    first, second = zip(*combinations(range(count), 2), strict=True)
    return (fields[:, list(first)] * fields[:, list(second)]).sum(dim=2)


ARCHITECTURE = Architecture(
    name="dlrm",
    config=DLRMConfig,
    module=DLRM,
    source="Naumov et al., Deep Learning Recommendation Model, 2019 (arXiv 1906.00091)",
)
