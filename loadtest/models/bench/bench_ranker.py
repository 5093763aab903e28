"""The ranker of the benchmark, written as anybody would write it: two embeddings side by side, and an MLP.

It needs torch only, so that the torch peer can build it in an environment of its own.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


class BenchRanker(nn.Module):
    """Embeddings of user and item -> MLP -> logit."""

    def __init__(self, users: int, items: int, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.user = nn.Embedding(users, width)
        self.item = nn.Embedding(items, width)
        widths = [2 * width, *hidden]
        layers: list[nn.Module] = []
        for one, following in pairwise(widths):
            layers += [nn.Linear(one, following), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        """Logits, float32 [num_candidates]."""
        user = torch.index_select(self.user(inputs["user_id"]), 0, row_request)
        joined = torch.cat([user, self.item(inputs["item_id"])], dim=1)
        logits: Tensor = self.network(joined)
        return logits.squeeze(1)


def build(encoder: Any, width: int, hidden: Sequence[int]) -> BenchRanker:
    """What the model card names as its entry point."""
    return BenchRanker(encoder.cardinality("user_id"), encoder.cardinality("item_id"), width, hidden)
