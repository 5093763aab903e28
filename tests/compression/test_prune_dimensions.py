"""Narrower embeddings: which columns go, from which tables, and how many."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.architecture import build
from app.training.fit import predict
from app.training.narrowable import Narrowable
from torch import nn

from tests.compression.own_modules import Plain
from tests.training.inputs import with_large_weights

PRUNE = techniques()["prune_dimensions"]
IMPORTANCES = ("taylor", "activation", "magnitude")


def ranker(name: str, workshop: Workshop, **config: Any) -> nn.Module:
    return with_large_weights(
        build(name, {"embedding_dimension": 8, "hidden": [16], **config}, workshop.encoder)
    )


def prune(module: nn.Module, workshop: Workshop, **settings: Any) -> nn.Module:
    config = PRUNE.configure({"epochs": 1, "learning_rate": 1e-12, **settings}, "a test")
    made: nn.Module = PRUNE.apply(module, config, replace(workshop, teacher=module))
    return made


def widths(module: nn.Module) -> dict[str, int]:
    assert isinstance(module, Narrowable)
    every = (*module.embedding.request_features, *module.embedding.item_features)
    return {one.name: module.embedding.width(one) for one in every}


@torch.no_grad()
def silence(module: nn.Module, columns: dict[str, list[int]]) -> None:
    """Zeros in these columns of what gives the features their vectors."""
    assert isinstance(module, Narrowable)
    for name, some in columns.items():
        if name in module.embedding.tables:
            for one in module.embedding.tables[name].parameters():
                one[:, some] = 0
        else:
            for one in module.embedding.projections[name].parameters():
                one[some] = 0


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_each_table_loses_its_own_least_important_columns(workshop: Workshop, importance: str) -> None:
    module = ranker("dcn_v2", workshop)
    tables = ["user_id", "segment", "device", "item_id", "category"]
    rng = np.random.default_rng(0)
    silence(module, {name: rng.permutation(8)[:4].tolist() for name in tables})
    made = prune(module, workshop, importance=importance)
    assert widths(made) == {**dict.fromkeys([*tables, "history"], 4), "price": 8, "text": 8}
    rows = workshop.rows("a test").take(np.arange(200))
    np.testing.assert_allclose(predict(made, rows), predict(module, rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("name", ["deepfm", "dlrm"])
def test_features_that_are_multiplied_lose_the_same_columns(
    workshop: Workshop, name: str, importance: str
) -> None:
    module = ranker(name, workshop)
    silence(module, {one: [1, 2, 5, 6] for one in widths(module) if one != "history"})
    made = prune(module, workshop, importance=importance)
    assert set(widths(made).values()) == {4}
    rows = workshop.rows("a test").take(np.arange(200))
    np.testing.assert_allclose(predict(made, rows), predict(module, rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("dimension", "keep", "left"), [(32, 0.5, 16), (16, 0.1, 4), (10, 0.7, 8), (10, 0.9, 8), (3, 0.5, None)]
)
def test_widths_are_multiples_of_4(workshop: Workshop, dimension: int, keep: float, left: int | None) -> None:
    module = ranker("two_tower", workshop, embedding_dimension=dimension)
    if left is None:
        with pytest.raises(CompressionFailed, match="no table would get narrower; widths are multiples of 4"):
            prune(module, workshop, keep=keep)
    else:
        assert widths(prune(module, workshop, keep=keep))["user_id"] == left


def test_rounds_end_where_one_round_does(workshop: Workshop) -> None:
    told: list[str] = []
    watched = replace(workshop, progress=lambda done, what: told.append(what))
    module = ranker("wide_and_deep", workshop, embedding_dimension=32)
    assert widths(prune(module, watched, keep=0.25, rounds=3))["item_id"] == 8
    assert told.count("measuring columns") == 3


def test_hashed_tables_lose_columns_where_they_have_columns(workshop: Workshop) -> None:
    tables = {
        "user_id": {"kind": "random_offsets", "rows": 50, "block": 4},
        "item_id": {"kind": "quotient_remainder", "rows": 20},
    }
    for importance in IMPORTANCES:
        made = prune(ranker("dcn_v2", workshop, tables=tables), workshop, importance=importance)
        assert (widths(made)["user_id"], widths(made)["item_id"]) == (8, 4)
    with pytest.raises(CompressionFailed, match="a table of random offsets stays as it is"):
        prune(ranker("dlrm", workshop, tables=tables), workshop)


def test_a_module_that_does_not_say_what_reads_its_features_is_refused(workshop: Workshop) -> None:
    with pytest.raises(
        CompressionFailed, match="Plain does not say what reads its features: it works on the"
    ):
        prune(Plain(workshop.encoder), workshop)
