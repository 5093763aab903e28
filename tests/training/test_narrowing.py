"""Rankers without some of their columns, or without whole features: exact where what goes was zero."""

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.errors import ConfigurationError
from app.training.architecture import architectures, build
from app.training.export import export
from app.training.graph_file import check_contract
from app.training.layers import FeatureEmbedding
from app.training.narrowable import Narrowable
from app.training.narrowing import Kept, pairs_that_stay
from torch import Tensor, nn

from tests.samples import an_encoder
from tests.training.inputs import requests_of, with_large_weights

NETWORKS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in sorted(architectures())]
NETWORKS += [
    ("dcn_v2", {"structure": "stacked"}),
    ("dcn_v2", {"cross_rank": 3, "cross_layers": 3}),
    ("deepfm", {"tables": {"item_id": {"kind": "quotient_remainder", "rows": 2}}}),
]
GONE = ("device", "genres", "tags", "views", "image")


def network(name: str, config: dict[str, Any]) -> tuple[nn.Module, Narrowable]:
    module = with_large_weights(build(name, {"embedding_dimension": 8, **config}, an_encoder()))
    assert isinstance(module, Narrowable)
    return module, module


def whole(ranker: Narrowable) -> dict[str, Tensor]:
    embedding = ranker.embedding
    every = (*embedding.request_features, *embedding.item_features)
    return {one.name: torch.arange(embedding.width(one)) for one in every}


@torch.no_grad()
def silence(embedding: FeatureEmbedding, names: list[str], columns: Tensor) -> None:
    """Zeros in these columns of these tables and projections."""
    for name in names:
        if name in embedding.projections:
            for one in embedding.projections[name].parameters():
                one[columns] = 0
        elif name in embedding.tables:
            for one in embedding.tables[name].parameters():
                one[:, columns] = 0


def owners(embedding: FeatureEmbedding) -> list[str]:
    return [*embedding.tables, *embedding.projections]


@pytest.mark.parametrize(("name", "config"), NETWORKS, ids=str)
def test_columns_of_zeros_go_and_no_logit_changes(name: str, config: dict[str, Any]) -> None:
    module, ranker = network(name, config)
    gone, stays = torch.tensor([0, 3, 4, 5]), torch.tensor([1, 2, 6, 7])
    silence(ranker.embedding, owners(ranker.embedding), gone)
    requests = requests_of(an_encoder(), [3, 1, 20])
    expected = requests.logits(module)
    before = sum(one.numel() for one in module.parameters())
    ranker.narrow(Kept(dict.fromkeys(whole(ranker), stays)))
    np.testing.assert_allclose(requests.logits(module), expected, rtol=1e-4, atol=1e-4)
    assert sum(one.numel() for one in module.parameters()) < 0.8 * before
    assert ranker.embedding.dimension == 4


@pytest.mark.parametrize(("name", "config"), NETWORKS, ids=str)
def test_each_table_may_lose_columns_of_its_own_unless_they_are_multiplied(
    name: str, config: dict[str, Any]
) -> None:
    module, ranker = network(name, config)
    if ranker.aligned:
        assert name in ("deepfm", "dlrm")
        return
    kept = whole(ranker)
    kept["user_id"] = torch.tensor([0, 1, 2, 7])
    kept["item_id"] = kept["history"] = torch.tensor([5])
    silence(ranker.embedding, ["user_id"], torch.tensor([3, 4, 5, 6]))
    silence(ranker.embedding, ["item_id"], torch.tensor([0, 1, 2, 3, 4, 6, 7]))
    requests = requests_of(an_encoder(), [3, 1, 20])
    expected = requests.logits(module)
    ranker.narrow(Kept(kept))
    np.testing.assert_allclose(requests.logits(module), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "config"), NETWORKS, ids=str)
def test_silent_features_go_with_their_tables_and_inputs(name: str, config: dict[str, Any]) -> None:
    module, ranker = network(name, config)
    for one in module.modules():
        if isinstance(one, FeatureEmbedding):
            silence(one, list(GONE), torch.arange(one.dimension))
    requests = requests_of(an_encoder(), [3, 1, 20])
    expected = requests.logits(module)
    ranker.narrow(Kept({name: one for name, one in whole(ranker).items() if name not in GONE}))
    np.testing.assert_allclose(requests.logits(module), expected, rtol=1e-4, atol=1e-4)
    assert not set(GONE) & set(owners(ranker.embedding))
    graph = export(module, an_encoder())
    inputs = {one.name for one in graph.graph.input}
    assert inputs == {one.name for one in an_encoder().schema.features} - set(GONE) | {"row_request"}
    onnx.checker.check_model(graph, full_check=True)
    check_contract(graph, an_encoder().schema, GONE)
    with pytest.raises(ConfigurationError, match="the graph has no input 'device'"):
        check_contract(graph, an_encoder().schema)
    with pytest.raises(ConfigurationError, match="has an input 'user_id', which the schema does not have"):
        check_contract(graph, an_encoder().schema, [*GONE, "user_id"])


def test_a_history_goes_on_when_the_feature_whose_table_it_has_goes() -> None:
    module, ranker = network("wide_and_deep", {})
    ranker.narrow(Kept({name: one for name, one in whole(ranker).items() if name != "item_id"}))
    assert "item_id" in ranker.embedding.tables
    assert np.isfinite(requests_of(an_encoder(), [3, 1]).logits(module)).all()


@pytest.mark.parametrize(("name", "config"), NETWORKS, ids=str)
def test_one_feature_of_each_side_is_enough(name: str, config: dict[str, Any]) -> None:
    module, ranker = network(name, config)
    ranker.narrow(Kept({name: whole(ranker)[name] for name in ("history", "year")}))
    assert requests_of(an_encoder(), [3, 1]).logits(module).shape == (4,)


def test_a_table_of_random_offsets_has_no_columns_to_lose() -> None:
    tables = {"item_id": {"kind": "random_offsets", "rows": 7, "block": 4}}
    _, ranker = network("two_tower", {"tables": tables})
    kept = whole(ranker)
    with pytest.raises(ConfigurationError, match="no columns that could go alone"):
        ranker.narrow(Kept(kept | dict.fromkeys(["item_id", "history"], torch.arange(4))))
    _, ranker = network("two_tower", {"tables": tables})
    ranker.narrow(Kept(kept | {"user_id": torch.arange(4)}))
    assert ranker.embedding.request_width == 8 * 3 - 4


def test_the_copy_that_is_narrowed_leaves_the_original_as_it_was() -> None:
    module, _ = network("dcn_v2", {})
    requests = requests_of(an_encoder(), [3])
    before = requests.logits(module)
    narrowed = copy.deepcopy(module)
    assert isinstance(narrowed, Narrowable)
    narrowed.narrow(Kept({name: one[:4] for name, one in whole(narrowed).items()}))
    assert requests.logits(module).tolist() == before.tolist()


def test_pairs_that_stay_are_those_of_fields_that_stay() -> None:
    # 01 02 03 12 13 23
    assert pairs_that_stay([0, 2, 3], 4).tolist() == [1, 2, 5]
    assert pairs_that_stay([1], 3).tolist() == []
