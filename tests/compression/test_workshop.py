"""What surrounds a step."""

from dataclasses import replace

import pytest
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from hypothesis import given
from hypothesis import strategies as st


def test_rows_are_the_training_rows_and_nothing_else(workshop: Workshop) -> None:
    assert workshop.prepared is not None
    assert workshop.rows("a test") is workshop.prepared.train


def test_without_data_it_says_who_needed_them(workshop: Workshop) -> None:
    with pytest.raises(
        CompressionFailed, match=r"^squeezing needs rows, and the model's card has no \[data\]$"
    ):
        replace(workshop, prepared=None).rows("squeezing")


@given(st.lists(st.floats(0, 1), min_size=2, max_size=4), st.floats(0, 1))
def test_progress_within_a_part_is_that_part_of_the_whole(bounds: list[float], done: float) -> None:
    told: list[tuple[float, str]] = []
    start, *_, end = sorted(bounds)
    outer = Workshop(None, None, 0, None, lambda *given: told.append(given))  # type: ignore[arg-type]
    for fraction in (0.0, done, 1.0):
        outer.within(start, end).progress(fraction, "working")
    first, middle, last = (one for one, _ in told)
    assert first == start
    assert last == pytest.approx(end)
    assert start <= middle <= last + 1e-12
    assert {what for _, what in told} == {"working"}
