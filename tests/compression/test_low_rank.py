"""Two thin matrices in the place of one: which directions are kept, how many, and what they save."""

import numpy as np
import pytest
from app.compression.low_rank import Spectrum, balanced, most_rank
from app.encoding import Array


def a_matrix(rows: int = 12, columns: int = 7) -> Array:
    return np.random.default_rng(0).standard_normal((rows, columns))


def lost(inputs: Array, matrix: Array, other: Array) -> float:
    return float(((inputs @ (matrix - other)) ** 2).sum())


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_with_inputs_that_are_all_alike_it_is_the_truncated_decomposition(rank: int) -> None:
    matrix = a_matrix()
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    first, second = Spectrum.of(matrix.T @ matrix).factors(matrix, rank)
    assert (first.shape, second.shape) == ((12, rank), (rank, 7))
    np.testing.assert_allclose(first @ second, (left[:, :rank] * values[:rank]) @ right[:rank], atol=1e-12)


def test_inputs_decide_what_is_kept() -> None:
    """No other product of that rank comes nearer to the outputs: not that of the weights alone, nor its neighbours."""
    rng, matrix = np.random.default_rng(1), a_matrix()
    inputs = rng.standard_normal((500, 12)) * np.linspace(0.01, 3, 12)
    aware, plain = (
        np.matmul(*Spectrum.of(matrix.T @ moment @ matrix).factors(matrix, 2))
        for moment in (inputs.T @ inputs, np.eye(12))
    )
    assert lost(inputs, matrix, aware) < 0.9 * lost(inputs, matrix, plain)
    values = np.linalg.svd(inputs @ matrix, compute_uv=False)
    assert lost(inputs, matrix, aware) == pytest.approx((values[2:] ** 2).sum())


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.61, 2), (0.85, 2), (0.91, 3), (0.9999, 3)])
def test_the_fewest_directions_hold_the_energy(energy: float, rank: int) -> None:
    assert Spectrum.of(np.diag([0.0, 6.0, 3.0, 1.0])).rank(energy) == rank


def test_a_matrix_of_zeros_has_rank_1() -> None:
    spectrum = Spectrum.of(np.zeros((3, 3)))
    assert spectrum.rank(0.99) == 1
    first, second = spectrum.factors(np.zeros((4, 3)), 1)
    assert not (first @ second).any()


@pytest.mark.parametrize(
    ("rows", "columns", "share", "most"),
    [
        (64, 64, 1.0, 31),
        (64, 64, 0.5, 16),
        (64, 1, 1.0, 0),
        (1000, 8, 1.0, 7),
        (2, 2, 1.0, 0),
        (2, 3, 1.0, 1),
    ],
)
def test_a_rank_must_save_something(rows: int, columns: int, share: float, most: int) -> None:
    assert most_rank(rows, columns, share) == most
    assert most * (rows + columns) <= share * rows * columns
    if share == 1:
        assert most * (rows + columns) < rows * columns <= (most + 1) * (rows + columns)


@pytest.mark.parametrize("rank", [1, 2, 3, 5, 8, 12, 64])
def test_a_balanced_order_has_every_column_once(rank: int) -> None:
    assert sorted(balanced(rank)) == list(range(rank))


def test_subvectors_of_a_balanced_order_have_alike_products() -> None:
    assert balanced(8) == [0, 7, 3, 4, 1, 6, 2, 5]
    energies = 2.0 ** -np.arange(64)
    for length in (2, 4, 8, 16):
        products = np.log2(energies[balanced(64)]).reshape(-1, length).sum(axis=1)
        assert products.min() == products.max()
