"""What is said of the cores at the start, and that the advice of the warning helps."""

import re

import pytest
from app.cli.budget import budget_lines
from app.settings import Settings
from hypothesis import example, given
from hypothesis import strategies as st

numbers = st.integers(1, 256)


def said(workers: int, threads: int, cores: int) -> list[str]:
    return budget_lines(Settings(workers=workers, inference_threads=threads), cores)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ((1, 1, 1), "  cores        1 worker x 1 thread, of 1 usable core"),
        ((2, 1, 4), "  cores        2 workers x 1 thread, of 4 usable cores"),
        ((1, 4, 4), "  cores        1 worker x 4 threads, of 4 usable cores"),
    ],
)
def test_a_budget_that_is_kept_is_one_line(asked: tuple[int, int, int], line: str) -> None:
    assert said(*asked) == [line]


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ((2, 1, 1), "SLIMRANK_WORKERS=0"),
        ((1, 2, 1), "SLIMRANK_INFERENCE_THREADS=0"),
        ((2, 2, 3), "SLIMRANK_INFERENCE_THREADS=0"),
        ((5, 2, 4), "SLIMRANK_WORKERS=0 and SLIMRANK_INFERENCE_THREADS=0"),
    ],
)
def test_more_threads_than_cores_are_a_warning_that_names_what_to_set(
    asked: tuple[int, int, int], advice: str
) -> None:
    budget, warning = said(*asked)
    assert budget.startswith("  cores ")
    assert warning.startswith(
        f"  warning      {asked[0] * asked[1]} threads are to compute on {asked[2]} usable"
    )
    assert "wait for each other" in warning
    assert f"; set {advice}, which fits" in warning


@given(workers=numbers, threads=numbers, cores=numbers)
@example(workers=3, threads=3, cores=2)
def test_who_does_as_the_warning_says_is_warned_no_more(workers: int, threads: int, cores: int) -> None:
    lines = said(workers, threads, cores)
    assert (len(lines) == 2) is (workers * threads > cores)
    advised = re.findall(r"SLIMRANK_(\w+)=0", "".join(lines))
    changed = {"workers": workers, "inference_threads": threads} | {name.lower(): 0 for name in advised}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("app.settings.usable_cores", lambda: cores)
        assert len(budget_lines(Settings(**changed), cores)) == 1
