"""Lists become the mean of their used places, by whichever form is quicker for their size."""

import numpy as np
import pytest
import torch
from app.encoding import Array
from app.training.pooling import mean_of_used
from torch import nn

IDS = 9
LISTS = np.array([[1, 2, 2, 0, 0], [0, 0, 0, 0, 0], [8, 0, 3, 0, 0], [1, 2, 3, 4, 5]])
WIDTHS = pytest.mark.parametrize("width", [1, 12, 13, 64], ids=lambda width: f"{5 * width} numbers")


def mean(rows: Array, indices: Array) -> Array:
    used = indices[indices > 0]
    found: Array = rows[used].sum(axis=0) / max(1, len(used))
    return found


@WIDTHS
def test_only_used_places_count(width: int) -> None:
    table = nn.Embedding(IDS, width)
    found = mean_of_used(table, torch.from_numpy(LISTS), width).detach().numpy()
    rows = table.weight.detach().numpy()
    np.testing.assert_allclose(found, np.stack([mean(rows, one) for one in LISTS]), atol=1e-6)
    assert not found[1].any(), "nothing is known of an empty list"


@WIDTHS
def test_padding_learns_nothing(width: int) -> None:
    table = nn.Embedding(IDS, width)
    (mean_of_used(table, torch.from_numpy(LISTS), width) ** 2).sum().backward()
    assert table.weight.grad is not None
    learns = table.weight.grad.abs().sum(dim=1) > 0
    assert learns.tolist() == [index in LISTS and index > 0 for index in range(IDS)]


@WIDTHS
def test_no_list_and_lists_without_places(width: int) -> None:
    table = nn.Embedding(IDS, width)
    assert mean_of_used(table, torch.zeros((0, 5), dtype=torch.int64), width).shape == (0, width)
    assert not mean_of_used(table, torch.zeros((3, 0), dtype=torch.int64), width).any()
