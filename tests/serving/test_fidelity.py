"""How alike two rankings are: each figure against another program's, and where those have none."""

import numpy as np
import pytest
from app.encoding import Array
from app.serving.fidelity import TAU_ROWS, compare, inversions, kendall_tau, overlap_at_10
from app.training import metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

# Few different values make many ties.
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=70)


def floats(values: object) -> Array:
    return np.array(values, np.float32)


@given(PAIRS)
def test_kendalls_tau_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    a, b = floats(pairs).T
    expected = stats.kendalltau(a, b).statistic
    if np.isnan(expected):
        assert kendall_tau(a, b) == float(len(set(a)) == len(set(b)))
    else:
        assert kendall_tau(a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rows", [1000, 1023, 1024, 1025])
@pytest.mark.parametrize("values", [3, 100, 10**6])
def test_kendalls_tau_of_long_lists_is_that_of_scipy(rows: int, values: int) -> None:
    rng = np.random.default_rng(rows)
    a, b = floats(rng.integers(0, values, (2, rows)))
    for other in (b, a + b, -a):
        assert kendall_tau(a, other) == pytest.approx(stats.kendalltau(a, other).statistic, abs=1e-12)


@given(st.lists(st.integers(-3, 9), max_size=40))
def test_inversions_are_counted(values: list[int]) -> None:
    plain = sum(one > other for n, one in enumerate(values) for other in values[n:])
    assert inversions(np.array(values, np.int64)) == plain


def test_scores_that_rank_nothing_agree_with_nothing_but_each_other() -> None:
    flat, steps = floats([0.5] * 4), floats([1, 2, 3, 4])
    assert kendall_tau(flat, steps) == kendall_tau(steps, flat) == 0.0
    assert kendall_tau(flat, flat) == 1.0
    assert kendall_tau(steps, -steps) == -1.0


@given(PAIRS)
def test_the_overlap_is_that_of_the_evaluation(pairs: list[tuple[float, float]]) -> None:
    a, b = floats(pairs).T
    assert overlap_at_10(a, b) == metrics.overlap_at_k(a[None], b[None])


def test_differences_have_the_sign_of_the_served_scores() -> None:
    found = compare(floats([0.5, 0.25, 0.75]), floats([0.25, 0.5, 0.25]))
    assert found.mean_difference == pytest.approx(0.5 / 3)
    assert found.mean_absolute_difference == pytest.approx(1.0 / 3)
    assert found.overlap_at_10 == 1.0


def test_long_lists_have_the_tau_of_rows_at_even_distances() -> None:
    rng = np.random.default_rng(0)
    served = floats(rng.random(3 * TAU_ROWS))
    other = served + floats(rng.random(3 * TAU_ROWS))
    whole = stats.kendalltau(served, other).statistic
    assert compare(served, other).kendall_tau == pytest.approx(whole, abs=0.02)
    assert compare(served, other).kendall_tau == kendall_tau(served[::3], other[::3])
