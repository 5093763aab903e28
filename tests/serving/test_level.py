"""How many rungs down a model answers: by the load, and by what its answers are worth together."""

from app.serving.ladder import Level
from hypothesis import given
from hypothesis import strategies as st


def test_the_level_falls_at_once_and_rises_one_rung_at_a_time_when_there_is_room() -> None:
    level = Level()
    assert level.settle([2.0, 1.2, 0.4], [1.0, 0.98, 0.95], now=0.0) == 2
    assert level.settle([0.3, 0.2, 0.1], [1.0, 0.98, 0.95], now=0.5) == 2, "just after a step nothing changes"
    assert level.settle([0.8, 0.75, 0.1], [1.0, 0.98, 0.95], now=2.0) == 2, "there is not enough room above"
    assert level.settle([0.3, 0.2, 0.1], [1.0, 0.98, 0.95], now=3.0) == 1
    assert level.settle([0.3, 0.2, 0.1], [1.0, 0.98, 0.95], now=3.5) == 1
    assert level.settle([0.3, 0.2, 0.1], [1.0, 0.98, 0.95], now=4.5) == 0
    assert level.settle([0.3, 0.2, 0.1], [1.0, 0.98, 0.95], now=9.0) == 0


def test_requests_with_fewer_rungs_do_not_lift_the_others() -> None:
    level = Level()
    assert level.settle([5.0, 2.0, 0.8], [1.0, 0.98, 0.95], now=0.0) == 2
    assert level.settle([5.0, 0.8], [1.0, 0.95], now=0.1) == 1
    assert level.settle([1.5, 0.85, 0.75], [1.0, 0.98, 0.95], now=0.2) == 2


def test_a_load_between_the_bounds_does_not_make_the_level_flap() -> None:
    level = Level()
    steps = [level.settle([1.2 if n == 0 else 0.8, 0.2], [1.0, 0.95], now=n * 0.1) for n in range(100)]
    assert set(steps) == {1}


def test_a_rung_that_answers_little_more_and_much_worse_is_passed_over() -> None:
    level = Level()
    assert level.settle([5.0, 1.2, 1.1], [1.0, 0.95, 0.6], now=0.0) == 1, "the last would answer a tenth more"
    assert level.settle([5.0, 1.2, 0.2], [1.0, 0.95, 0.6], now=1.0) == 1
    assert level.settle([9.0, 3.0, 0.3], [1.0, 0.95, 0.6], now=2.0) == 2, "the last would answer all"
    assert level.settle([9.0, 3.0, 2.9], [1.0, 0.95, 0.6], now=4.0) == 1, "now it would not"
    assert level.settle([0.95, 0.3], [1.0, 0.9], now=9.0) == 1
    assert Level().settle([0.95, 0.3], [1.0, 0.9], now=0.0) == 0, "nearly all well is more than all worse"


def test_a_rung_that_takes_about_the_same_time_is_not_stepped_down_to_and_is_left_for_a_better_one() -> None:
    level = Level()
    assert level.settle([5.0, 0.97, 0.90], [1.0, 0.75, 0.74], now=0.0) == 1, "the last one is hardly cheaper"
    level.steps = 2
    assert level.settle([5.0, 0.85, 0.84], [1.0, 0.75, 0.71], now=1.5) == 1
    level.steps = 2
    assert level.settle([5.0, 0.85, 0.5], [1.0, 0.75, 0.71], now=3.0) == 2, "room is worth something"
    assert level.settle([5.0, 1.2, 1.15], [1.0, 0.7, 0.71], now=5.0) == 2, "it would be worth less together"


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 2)), min_size=1, max_size=5),
    st.integers(0, 6),
)
def test_a_step_never_makes_the_answers_worth_less(rungs: list[tuple[float, float]], start: int) -> None:
    utilizations, worths = [u for u, _ in rungs], [w for _, w in rungs]
    level = Level()
    level.steps = min(start, len(rungs) - 1)
    before = level.steps
    after = level.settle(utilizations, worths, now=0.0)

    def gain(step: int) -> float:
        return worths[step] * min(1.0, 0.9 / max(utilizations[step], 0.9))

    roomy = after < before and utilizations[after] < 0.7
    assert roomy or gain(after) >= gain(before) or after == before


@given(st.floats(0.0, 0.9), st.floats(0.9, 50.0))
def test_what_a_rung_leaves_is_filled_by_the_one_above_and_not_more(here: float, above: float) -> None:
    level = Level()
    level.settle([above, here], [1.0, 0.99], now=0.0)
    count = 2000
    lifted = sum(level.lifts([above, here]) for _ in range(count)) / count if level.steps else 0.0
    taken = lifted * above + (1 - lifted) * here
    assert taken <= max(here, 0.8) + above * 0.005
    if level.steps and here < 0.8 < above:
        assert taken >= 0.8 - above * 0.005


def test_at_rest_and_without_room_no_request_is_lifted() -> None:
    level = Level()
    assert not level.lifts([0.5, 0.1])
    level.settle([9.0, 0.89], [1.0, 0.99], now=0.0)
    assert level.steps == 1
    assert not any(level.lifts([9.0, 0.89]) for _ in range(100))
