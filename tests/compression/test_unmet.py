"""Items that a user never met, against the plain set difference."""

import numpy as np
import pytest
from app.compression.unmet import Unmet
from app.encoding import Array
from app.training.rows import Rows
from hypothesis import given
from hypothesis import strategies as st

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=40)
ITEMS = 7


def rows_of(pairs: list[tuple[int, int]]) -> Rows:
    users, items = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    return Rows({}, {"item_id": np.arange(ITEMS)}, {}, users, items, np.zeros(len(pairs), dtype=np.float32))


def never_met(pairs: list[tuple[int, int]], user: int) -> list[int]:
    return [item for item in range(ITEMS) if (user, item) not in pairs]


def pair_by_pair(pairs: list[tuple[int, int]]) -> tuple[Array, Array]:
    users = np.repeat([user for user, _ in pairs], ITEMS)
    return users, np.tile(np.arange(ITEMS), len(pairs))


@given(pairs=PAIRS, cut=st.integers(0, 40))
def test_every_unmet_item_has_its_number(pairs: list[tuple[int, int]], cut: int) -> None:
    parts = [rows_of(one) for one in (pairs[:cut], pairs[cut:]) if one]
    unmet = Unmet(parts)
    for user in {user for user, _ in pairs}:
        free = never_met(pairs, user)
        (count,) = unmet.count(np.array([user]))
        assert count == len(free)
        assert unmet.items(np.full(count, user), np.arange(count)).tolist() == free


@given(pairs=PAIRS)
def test_it_knows_which_pairs_never_met(pairs: list[tuple[int, int]]) -> None:
    users, items = pair_by_pair(pairs)
    wanted = [pair not in pairs for pair in zip(users.tolist(), items.tolist(), strict=True)]
    assert Unmet([rows_of(pairs)]).holds(users, items).tolist() == wanted


def test_draws_are_even_over_what_was_never_met() -> None:
    unmet = Unmet([rows_of([(0, 0), (0, 3), (1, 6)])])
    drawn = unmet.draw(np.zeros(10_000, dtype=np.int64), np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=ITEMS)
    assert counts[[0, 3]].sum() == 0
    assert counts[[1, 2, 4, 5, 6]] == pytest.approx(2_000, rel=0.1)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_distinct_draws_differ_and_each_item_is_as_likely(size: int) -> None:
    unmet = Unmet([rows_of([(0, 0), (0, 3), (1, 6)])])
    drawn = unmet.draw_distinct(np.zeros(10_000, dtype=np.int64), size, np.random.default_rng(0))
    assert all(len(set(one)) == size for one in drawn.tolist())
    counts = np.bincount(drawn.ravel(), minlength=ITEMS)
    assert counts[[0, 3]].sum() == 0
    assert counts[[1, 2, 4, 5, 6]] == pytest.approx(10_000 * size / 5, rel=0.1)
