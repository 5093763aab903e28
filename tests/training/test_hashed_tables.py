"""Tables with fewer rows than ids: what each index is made of, and how they are asked for."""

import numpy as np
import pytest
import torch
from app.errors import ConfigurationError
from app.training.architecture import architectures, build
from app.training.hashed_tables import (
    QuotientRemainder,
    QuotientRemainderConfig,
    RandomOffsets,
    RandomOffsetsConfig,
)
from torch import nn

from tests.samples import an_encoder

QUOTIENT = QuotientRemainderConfig(kind="quotient_remainder", rows=7)
OFFSETS = RandomOffsetsConfig(kind="random_offsets", rows=50, block=4)


def test_an_index_is_the_product_of_its_quotient_and_its_remainder() -> None:
    torch.manual_seed(0)
    table = QuotientRemainder(100, 8, QUOTIENT)
    expected = table.remainder.weight[93 % 7] * table.quotient.weight[93 // 7]
    torch.testing.assert_close(table(torch.tensor([93]))[0], expected)
    assert (table.remainder.num_embeddings, table.quotient.num_embeddings) == (7, 15)
    rows = table(torch.arange(100)).detach().numpy()
    assert len(np.unique(rows, axis=0)) == 100, "no two indices have the same pair"


def test_an_index_is_whole_blocks_of_the_array() -> None:
    torch.manual_seed(0)
    table = RandomOffsets(10**6, 8, OFFSETS)
    assert tuple(table.array.weight.shape) == (50, 4)
    rows = table(torch.tensor([[3, 999_999]]))
    assert rows.shape == (1, 2, 8)
    blocks = rows.detach().reshape(4, 4)
    assert all((table.array.weight == block).all(dim=1).any() for block in blocks)


def test_offsets_are_spread_over_the_array_and_never_leave_it() -> None:
    torch.manual_seed(0)
    table = RandomOffsets(2**31, 8, OFFSETS)
    with torch.no_grad():  # every block tells its own number
        table.array.weight[:] = torch.arange(50.0).unsqueeze(1)
        large = table(torch.tensor([0, 2**31 - 1, 2**31]))
        counts = np.bincount(table(torch.arange(50_000))[:, 0].numpy().astype(int), minlength=50)
    assert ((large >= 0) & (large < 50)).all()
    assert counts.min() > 700
    assert counts.max() < 1300


def test_a_table_is_never_larger_than_the_ids_need() -> None:
    assert QuotientRemainder(5, 8, QUOTIENT).rows == 5
    assert RandomOffsets(5, 8, OFFSETS).rows == 10


def test_a_block_must_divide_the_width() -> None:
    with pytest.raises(ConfigurationError, match="a block of 4 does not divide the embedding's width 6"):
        RandomOffsets(100, 6, OFFSETS)


@pytest.mark.parametrize("name", list(architectures()))
def test_every_architecture_takes_them(name: str) -> None:
    module = build(name, {"tables": {"item_id": QUOTIENT.model_dump()}}, an_encoder())
    hashed = [one for one in module.modules() if isinstance(one, QuotientRemainder)]
    assert len(hashed) == (2 if name in {"deepfm", "wide_and_deep"} else 1), (
        "the wide part's table is hashed too"
    )


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        (
            {"price": {"kind": "random_offsets", "rows": 9}},
            "tables: no feature 'price' has a table; there are: ",
        ),
        ({"item_id": {"kind": "hash", "rows": 9}}, r"architecture 'dlrm': tables\.item_id: "),
        ({"item_id": {"kind": "quotient_remainder"}}, r"tables\.item_id\.quotient_remainder\.rows: "),
    ],
)
def test_a_wrong_table_is_named(tables: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        build("dlrm", {"tables": tables}, an_encoder())


def test_without_them_weights_are_drawn_as_ever() -> None:
    torch.manual_seed(0)
    module = build("dlrm", {}, an_encoder())
    assert all(isinstance(one, nn.Embedding) for one in module.embedding.tables.values())  # type: ignore[operator, union-attr]
