"""Modules of one's own, as a user may bring them: none of this project's layers, and one of its own on top."""

import torch
from app.encoding import Encoder
from app.training.layers import spread
from torch import Tensor, nn


class Plain(nn.Module):
    """Users and items side by side, and a network of one hidden layer."""

    def __init__(self, encoder: Encoder, hidden: int = 64) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.users = nn.Embedding(encoder.cardinality("user_id"), 8)
        self.items = nn.Embedding(encoder.cardinality("item_id"), 8)
        self.network = nn.Sequential(nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def pairs(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:
        return torch.cat(
            [spread(self.users(inputs["user_id"]), row_request), self.items(inputs["item_id"])], 1
        )

    def forward(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:
        logits: Tensor = self.network(self.pairs(inputs, row_request))
        return logits.squeeze(1)


class Attention(Plain):
    """Its second network runs over every item of the history: activations are [rows, items, width]."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.attention = nn.Sequential(nn.Linear(16, 64), nn.Sigmoid(), nn.Linear(64, 1))
        self.network = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 1))

    def pairs(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:
        history = spread(self.items(inputs["history"]), row_request)
        item = self.items(inputs["item_id"]).unsqueeze(1).expand_as(history)
        weight = self.attention(torch.cat([history, item], 2))
        return torch.cat([super().pairs(inputs, row_request), (weight * history).sum(1)], 1)


class WithAnotherHead(Plain):
    """A head for training alone, which no score needs."""

    def __init__(self, encoder: Encoder, *, runs: bool) -> None:
        super().__init__(encoder)
        self.head = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
        self.runs = runs

    def forward(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:
        if self.runs:
            self.head(self.pairs(inputs, row_request))
        return super().forward(inputs, row_request)


class Borrowed(Plain):
    """Something besides its nn.Sequential reads the hidden layer."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.other = nn.Linear(64, 1)

    def forward(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:
        hidden = self.network[:2](self.pairs(inputs, row_request))
        return (self.network[2](hidden) + self.other(hidden)).squeeze(1)
