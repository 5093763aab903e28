"""The parts of rankers, against the formulas that they follow."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from app.training.architecture import build
from app.training.cross_network import CrossNetwork
from app.training.layers import MLP, FeatureEmbedding, LinearTerms, SplitLinear, spread
from torch import Tensor, nn

from tests.samples import an_encoder
from tests.training.inputs import requests_of, with_large_weights

REQUEST, ITEM = 5, 7
ROW_REQUEST = torch.tensor([2, 0, 0, 1, 2, 2])


@pytest.fixture(autouse=True)
def fixed_seed() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def two_sides(request_width: int = REQUEST) -> tuple[Tensor, Tensor, Tensor]:
    """Three requests, six candidates, and both sides of each candidate beside each other."""
    request, item = torch.randn(3, request_width), torch.randn(6, ITEM)
    return request, item, torch.cat([request[ROW_REQUEST], item], dim=1)


def joined(layer: SplitLinear) -> nn.Linear:
    """One layer over both sides, with the same weights."""
    halves = [layer.item.weight] if layer.request is None else [layer.request.weight, layer.item.weight]
    weight = torch.cat(halves, dim=1)
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.copy_(weight)
    linear.bias.copy_(layer.item.bias)
    return linear


@pytest.mark.parametrize("request_width", [REQUEST, 0])
def test_a_split_linear_is_a_linear_of_both_sides(request_width: int) -> None:
    request, item, both = two_sides(request_width)
    layer = SplitLinear(request_width, ITEM, 4)
    torch.testing.assert_close(layer(request, item, ROW_REQUEST), joined(layer)(both))


def test_a_split_linear_starts_like_a_linear_of_both_sides() -> None:
    layer = SplitLinear(300, 100, 50)
    assert layer.request is not None
    bound = 1 / np.sqrt(400)
    for weight in (layer.request.weight, layer.item.weight, layer.item.bias):
        assert bound * 0.9 < weight.abs().max() <= bound


def test_a_row_takes_what_belongs_to_its_request() -> None:
    request = torch.arange(6.0).reshape(3, 2)
    assert spread(request, ROW_REQUEST).tolist() == [[4, 5], [0, 1], [0, 1], [2, 3], [4, 5], [4, 5]]


@pytest.mark.parametrize("request_width", [REQUEST, 0])
def test_a_network_over_both_sides_is_one_over_their_join(request_width: int) -> None:
    request, item, both = two_sides(request_width)
    split, whole = MLP(request_width, ITEM, [8, 3], out=2), MLP(None, request_width + ITEM, [8, 3], out=2)
    first = split.layers[0]
    assert isinstance(first, SplitLinear)
    whole.layers[0] = joined(first)
    for position in (1, 2):
        whole.layers[position] = split.layers[position]
    torch.testing.assert_close(split(request, item, ROW_REQUEST), whole(both))


def test_dropout_is_for_training_alone() -> None:
    network = MLP(None, ITEM, [64], dropout=0.5)
    x = torch.randn(6, ITEM)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("request_width", [REQUEST, 0])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_cross_network_follows_its_equation(rank: int | None, request_width: int, layers: int) -> None:
    request, item, x0 = two_sides(request_width)
    network = CrossNetwork(request_width, ITEM, layers, rank)
    first = joined(network.first) if isinstance(network.first, SplitLinear) else network.first
    x = x0
    for layer in (first, *network.rest):
        if isinstance(layer, nn.Linear):
            wx = x @ layer.weight.T + layer.bias
        else:
            thin, wide = layer
            wx = x @ (wide.weight @ thin.weight).T + wide.bias
        x = x0 * wx + x
    assert len(network.rest) == layers - 1
    torch.testing.assert_close(network(request, item, ROW_REQUEST), x, atol=1e-4, rtol=1e-4)


def embedded() -> tuple[FeatureEmbedding, dict[str, Tensor]]:
    embedding = FeatureEmbedding(an_encoder(), 4)
    with_large_weights(embedding)
    inputs = {
        "user_id": torch.tensor([2]),
        "history": torch.tensor([[3, 5, 0]]),
        "device": torch.tensor([7]),
        "item_id": torch.tensor([1, 0]),
        "genres": torch.tensor([[2, 0], [0, 0]]),
        "tags": torch.tensor([[1, 2, 5], [0, 0, 0]]),
        "year": torch.tensor([0.5, -2.0]),
        "views": torch.tensor([0.0, 1.0]),
        "ratio": torch.tensor([1.0, 0.0]),
        "image": torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
    }
    return embedding, inputs


def test_each_kind_of_feature_becomes_its_vector() -> None:
    embedding, inputs = embedded()
    request, item = embedding.fields(inputs)
    table = {name: one.weight for name, one in embedding.tables.items()}
    assert (request.shape, item.shape) == ((1, 3, 4), (2, 7, 4))
    assert (embedding.request_width, embedding.item_width) == (12, 28)
    history = (table["item_id"][3] + table["item_id"][5]) / 2
    torch.testing.assert_close(request[0], torch.stack([table["user_id"][2], history, table["device"][7]]))
    torch.testing.assert_close(item[:, 0], table["item_id"][[1, 0]])
    torch.testing.assert_close(item[0, 1], table["genres"][2])
    torch.testing.assert_close(item[0, 2], table["tags"][[1, 2, 5]].mean(dim=0))
    assert item[1, 1:3].abs().max() == 0, "an empty list is a vector of zeros"
    year, image = embedding.projections["year"], embedding.projections["image"]
    torch.testing.assert_close(item[1, 3], -2.0 * year.weight[:, 0] + year.bias)
    torch.testing.assert_close(item[0, 6], image.weight @ torch.tensor([1.0, 2.0]) + image.bias)


def test_tables_have_a_row_for_every_index_and_histories_share_one() -> None:
    embedding, _ = embedded()
    encoder = an_encoder()
    assert {name: one.num_embeddings for name, one in embedding.tables.items()} == {
        name: encoder.cardinality(name) for name in ("user_id", "device", "item_id", "genres", "tags")
    }


def test_both_sides_are_side_by_side_the_fields() -> None:
    embedding, inputs = embedded()
    for side, fields in zip(embedding(inputs), embedding.fields(inputs), strict=True):
        torch.testing.assert_close(side, fields.flatten(1))


def test_linear_terms_are_a_weight_per_value() -> None:
    terms = with_large_weights(LinearTerms(an_encoder()))
    requests = requests_of(an_encoder(), [2, 3])
    inputs, rows = requests.tensors()
    request, item = terms.embedding(inputs)
    expected = [request[rows[row]].sum() + item[row].sum() + terms.bias[0] for row in range(len(rows))]
    torch.testing.assert_close(terms(inputs, rows), torch.stack(expected))


def fields_of(module: nn.Module) -> tuple[list[list[Tensor]], tuple[dict[str, Tensor], Tensor]]:
    """The embedded fields of each candidate, request first."""
    inputs, rows = requests_of(an_encoder(), [1, 4]).tensors()
    request, item = module.embedding.fields(inputs)
    return [[*request[of], *one] for of, one in zip(rows, item, strict=True)], (inputs, rows)


def test_deepfm_sums_the_products_of_all_pairs() -> None:
    module = with_large_weights(build("deepfm", {}, an_encoder()))
    fields, (inputs, rows) = fields_of(module)
    products = [sum(a @ b for a, b in itertools.combinations(one, 2)) for one in fields]
    request, item = module.embedding(inputs)
    rest = module.linear(inputs, rows) + module.deep(request, item, rows).squeeze(1)
    torch.testing.assert_close(module(inputs, rows), torch.stack(products) + rest, atol=1e-4, rtol=1e-4)


def test_dlrm_shows_its_top_network_every_field_and_pair() -> None:
    module = with_large_weights(build("dlrm", {"embedding_dimension": 2, "hidden": [3]}, an_encoder()))
    fields, (inputs, rows) = fields_of(module)
    seen: list[Tensor] = []
    module.top.register_forward_pre_hook(
        lambda _, sides: seen.append(torch.cat([sides[0][sides[2]], sides[1]], 1))
    )
    module(inputs, rows)
    for row, one in enumerate(fields):
        expected = torch.cat([*one, torch.stack([a @ b for a, b in itertools.combinations(one, 2)])])
        torch.testing.assert_close(seen[0][row].sort().values, expected.sort().values)
