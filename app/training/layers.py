"""The parts that rankers are made of.

Everything here keeps the two sides of a request apart for as long as it can: what depends on the user and the
context is computed once per request and spread over the candidates by `row_request`. This is exact:
W [u; v] = W_u u + W_v v.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from app.encoding import Encoder
from app.errors import ConfigurationError
from app.schema import (
    CategoricalFeature,
    Feature,
    HistoryFeature,
    MultiFeature,
    NumberFeature,
    VectorFeature,
)
from app.training.hashed_tables import EMBEDDING_STD, HashedTable, Tables, hashed_table
from app.training.narrowing import Kept, Stays, keep_columns, keep_inputs, keep_outputs
from app.training.pooling import mean_of_used

_NO_TABLES: Tables = {}


class FeatureEmbedding(nn.Module):
    """Every feature as a vector of `dimension`.

    One table per feature that owns one, shared by the histories of it; lists are averaged over their used places;
    numbers scale a learned vector; dense vectors are projected. Gives the request side as float32
    [num_requests, request_width] and the item side as float32 [num_candidates, item_width], features side by side.

    `hashed` names features whose table has fewer rows than ids. Raises ConfigurationError when a feature has no table.
    """

    def __init__(self, encoder: Encoder, dimension: int, hashed: Tables = _NO_TABLES) -> None:
        super().__init__()
        schema = encoder.schema
        owners = [one.name for one in schema.tables]
        if unknown := sorted(hashed.keys() - set(owners)):
            raise ConfigurationError(
                f"tables: no feature {unknown[0]!r} has a table; there are: {', '.join(owners)}"
            )
        self.request_features = schema.request_features
        self.item_features = schema.item_features
        self.dimension = dimension
        self.tables = nn.ModuleDict({one.name: self._table(one, encoder, hashed) for one in schema.tables})
        for table in self.tables.values():
            if isinstance(table, nn.Embedding):
                nn.init.normal_(table.weight, std=EMBEDDING_STD)
        self.projections = nn.ModuleDict(
            {
                one.name: nn.Linear(one.dimension if isinstance(one, VectorFeature) else 1, dimension)
                for one in schema.features
                if isinstance(one, VectorFeature | NumberFeature)
            }
        )

    def _table(
        self, feature: CategoricalFeature | MultiFeature, encoder: Encoder, hashed: Tables
    ) -> nn.Module:
        cardinality = encoder.cardinality(feature.name)
        if feature.name not in hashed:
            return nn.Embedding(cardinality, self.dimension)
        return hashed_table(cardinality, self.dimension, hashed[feature.name])

    @property
    def request_width(self) -> int:
        """Width of the request side."""
        return sum(self.width(feature) for feature in self.request_features)

    @property
    def item_width(self) -> int:
        """Width of the item side."""
        return sum(self.width(feature) for feature in self.item_features)

    def width(self, feature: Feature) -> int:
        """Width of one feature's vector: `dimension`, unless it was narrowed by itself."""
        name = feature.of if isinstance(feature, HistoryFeature) else feature.name
        if name in self.projections:
            projection = self.projections[name]
            assert isinstance(projection, nn.Linear)
            return projection.out_features
        table = self.tables[name]
        if isinstance(table, nn.Embedding):
            return table.embedding_dim
        assert isinstance(table, HashedTable)
        return table.width

    def narrow(self, kept: Kept) -> Stays:
        """Leave only what is kept, in place; tables that no feature looks up any more go. Gives where it was."""
        sides = [
            {one.name: self.width(one) for one in side}
            for side in (self.request_features, self.item_features)
        ]
        request, item = (kept.positions(side) for side in sides)
        stays = Stays(request, item, torch.cat([request, item + sum(sides[0].values())]))
        every = (*self.request_features, *self.item_features)
        columns = {
            getattr(one, "of", one.name): kept.columns[one.name] for one in every if one.name in kept.columns
        }
        for owners in (self.tables, self.projections):
            for name in list(owners):
                if name not in columns:
                    del owners[name]
                else:
                    _keep_outputs(owners[name], columns[name])
        self.request_features = tuple(one for one in self.request_features if one.name in kept.columns)
        self.item_features = tuple(one for one in self.item_features if one.name in kept.columns)
        widths = {len(one) for one in columns.values()}
        self.dimension = widths.pop() if len(widths) == 1 else self.dimension
        return stays

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Embed both sides, each on its own rows."""
        request, item = self._side(self.request_features, inputs), self._side(self.item_features, inputs)
        if request is None:  # a model without user and context features: one empty row for each request
            request = item.new_zeros((1, 0)) if item is not None else torch.zeros((1, 0))
        assert item is not None, "a schema has at least one item feature"
        return request, item

    def fields(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The same as float32 [rows, num_features, dimension] for each side."""
        request, item = self(inputs)
        return self._split(request), self._split(item)

    def _split(self, side: Tensor) -> Tensor:
        return side.reshape(side.shape[0], side.shape[1] // self.dimension, self.dimension)

    def _side(self, features: Sequence[Feature], inputs: Mapping[str, Tensor]) -> Tensor | None:
        if not features:
            return None
        return torch.cat([self._embed(feature, inputs[feature.name]) for feature in features], dim=1)

    def _embed(self, feature: Feature, values: Tensor) -> Tensor:
        match feature:
            case HistoryFeature():
                return mean_of_used(self.tables[feature.of], values, self.width(feature))
            case MultiFeature():
                return mean_of_used(self.tables[feature.name], values, self.width(feature))
            case NumberFeature():
                return self.projections[feature.name](values.unsqueeze(1))  # type: ignore[no-any-return]
            case VectorFeature():
                return self.projections[feature.name](values)  # type: ignore[no-any-return]
            case _:
                return self.tables[feature.name](values)  # type: ignore[no-any-return]


def _keep_outputs(owner: nn.Module, columns: Tensor) -> None:
    if isinstance(owner, nn.Embedding):
        keep_columns(owner, columns)
    elif isinstance(owner, nn.Linear):
        keep_outputs(owner, columns)
    else:
        assert isinstance(owner, HashedTable)
        owner.keep_columns(columns)


class SplitLinear(nn.Module):
    """A Linear on [request side; item side] whose request half is computed once per request."""

    def __init__(self, request_width: int, item_width: int, out: int) -> None:
        super().__init__()
        joined = nn.Linear(request_width + item_width, out)
        self.item = nn.Linear(item_width, out)
        self.request = nn.Linear(request_width, out, bias=False) if request_width else None
        # Initialized as one layer over both sides would be.
        self.take(joined)

    @torch.no_grad()
    def take(self, joined: nn.Linear) -> None:
        """Have the weights of one layer over both sides."""
        request_width = 0 if self.request is None else self.request.in_features
        self.item.weight.copy_(joined.weight[:, request_width:])
        self.item.bias.copy_(joined.bias)
        if self.request is not None:
            self.request.weight.copy_(joined.weight[:, :request_width])

    def forward(self, request: Tensor, item: Tensor, row_request: Tensor) -> Tensor:
        """[num_requests, request_width], [num_candidates, item_width] -> [num_candidates, out]."""
        out: Tensor = self.item(item)
        if self.request is None:
            return out
        return out + spread(self.request(request), row_request)

    def narrow(self, request: Tensor, item: Tensor) -> None:
        """Leave only these inputs of each side, in place."""
        keep_inputs(self.item, item)
        if self.request is not None:
            keep_inputs(self.request, request)


def spread(request: Tensor, row_request: Tensor) -> Tensor:
    """One row per candidate from one row per request: [num_requests, ...] -> [num_candidates, ...]."""
    return torch.index_select(request, 0, row_request)


class MLP(nn.Module):
    """Hidden layers with ReLU and dropout, then a Linear to `out` without activation.

    The first layer is split between the sides, or a plain Linear where `request_width` is None and the input is one
    tensor. Every hidden width lies inside, so compression may narrow it.
    """

    def __init__(
        self,
        request_width: int | None,
        item_width: int,
        hidden: Sequence[int],
        dropout: float = 0.0,
        out: int = 1,
    ) -> None:
        super().__init__()
        widths = [*hidden, out]
        first = (
            nn.Linear(item_width, widths[0])
            if request_width is None
            else SplitLinear(request_width, item_width, widths[0])
        )
        self.layers = nn.ModuleList([first, *(nn.Linear(a, b) for a, b in itertools.pairwise(widths))])
        self.dropout = nn.Dropout(dropout)

    def forward(self, *sides: Tensor) -> Tensor:
        """(request, item, row_request), or one tensor -> [rows, out]."""
        x: Tensor = self.layers[0](*sides)
        for layer in self.layers[1:]:
            x = layer(self.dropout(torch.relu(x)))
        return x

    def narrow(self, *inputs: Tensor) -> None:
        """Leave only these inputs, in place: (request, item), or those of one tensor."""
        first = self.layers[0]
        if isinstance(first, SplitLinear):
            first.narrow(*inputs)
        else:
            assert isinstance(first, nn.Linear)
            keep_inputs(first, *inputs)


class LinearTerms(nn.Module):
    """One weight per id and per number: the wide part. Gives the logit's share, float32 [num_candidates]."""

    def __init__(self, encoder: Encoder, hashed: Tables = _NO_TABLES) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(encoder, dimension=1, hashed=hashed)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        """Sum the weights of both sides."""
        request, item = self.embedding(inputs)
        total: Tensor = item.sum(dim=1) + self.bias
        if self.embedding.request_features:
            total = total + spread(request.sum(dim=1), row_request)
        return total

    def narrow(self, kept: Kept) -> None:
        """Leave only the weights of the features that stay, in place."""
        self.embedding.narrow(kept.whole)
