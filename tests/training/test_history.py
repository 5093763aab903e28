"""Histories hold what a user met before, and nothing of what is to be predicted."""

import numpy as np
import numpy.typing as npt
from app.training.history import histories
from hypothesis import given
from hypothesis import strategies as st

Indices = npt.NDArray[np.int64]


def array(values: list[int]) -> Indices:
    return np.array(values, dtype=np.int64)


def found(
    users: list[int], items: list[int], times: list[int] | None, train: list[int], length: int = 3
) -> tuple[list[list[int]], list[list[int]]]:
    moments = None if times is None else array(times)
    rows, latest = histories(
        array(users), array(items), moments, array(train), max(users, default=0) + 1, length
    )
    return rows.tolist(), latest.tolist()


def test_a_history_holds_earlier_training_rows_of_the_user_alone() -> None:
    #            row:  0   1   2   3   4   5   6
    users, items = [0, 0, 0, 0, 1, 1, 0], [11, 12, 13, 14, 21, 22, 15]
    times, train = [30, 10, 20, 40, 5, 99, 50], [0, 1, 2, 4]
    rows, latest = found(users, items, times, train)
    assert rows == [
        [12, 13, 0],  # at 30: the rows of 10 and 20, oldest first
        [0, 0, 0],  # the user's first
        [12, 0, 0],
        [12, 13, 11],  # not for training, after all three
        [0, 0, 0],
        [21, 0, 0],
        [12, 13, 11],  # row 3 is earlier, but not for training
    ]
    assert latest == [[12, 13, 11], [21, 0, 0]]


def test_the_newest_items_are_kept() -> None:
    rows, latest = found([0] * 5, [1, 2, 3, 4, 5], None, [0, 1, 2, 3, 4], length=2)
    assert rows == [[0, 0], [1, 0], [1, 2], [2, 3], [3, 4]]
    assert latest == [[4, 5]]


def test_items_out_of_vocabulary_take_no_place() -> None:
    rows, latest = found([0] * 4, [7, 0, 0, 9], None, [0, 1, 2, 3], length=2)
    assert rows == [[0, 0], [7, 0], [7, 0], [7, 0]]
    assert latest == [[7, 9]]


def test_of_rows_of_one_moment_the_earlier_ones_count() -> None:
    assert found([0, 0, 0], [1, 2, 3], [8, 8, 8], [0, 1, 2])[0] == [[0, 0, 0], [1, 0, 0], [1, 2, 0]]


def test_without_training_rows_there_is_no_history() -> None:
    rows, latest = histories(array([0, 2]), array([1, 1]), None, array([]), 4, 2)
    assert rows.tolist() == [[0, 0]] * 2
    assert latest.tolist() == [[0, 0]] * 4


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 6), st.booleans()), min_size=1, max_size=30
)


@given(EVENTS, st.integers(1, 4), st.booleans())
def test_the_same_as_one_by_one(events: list[tuple[int, int, int, bool]], length: int, timed: bool) -> None:
    users, items, times, trained = (list(column) for column in zip(*events, strict=True))
    train = [row for row, yes in enumerate(trained) if yes]
    order = [((times[row] if timed else 0), row) for row in range(len(events))]

    def before(user: int, moment: tuple[float, int]) -> list[int]:
        met = sorted(order[row] for row in train if users[row] == user and items[row] and order[row] < moment)
        kept = [items[row] for _, row in met][-length:]
        return kept + [0] * (length - len(kept))

    rows, latest = found(users, items, times if timed else None, train, length)
    assert rows == [before(user, moment) for user, moment in zip(users, order, strict=True)]
    assert latest == [before(user, (float("inf"), 0)) for user in range(max(users) + 1)]
