"""The ladder: which variant answers, and what is said when something else must."""

from collections.abc import Mapping

import pytest
from app.active import Policy, State
from app.errors import NotReady, UnknownVariant
from app.serving.ladder import Choice, Rung, choose

from tests.serving.rungs import a_rung, ladder

BASELINE = a_rung("baseline", "baseline")
FAST = a_rung("fast", speedups={1: 2.0, 100: 3.0, 1000: 0.5})
FASTER = a_rung("faster", speedups={1: 1.5, 100: 4.0, 1000: 0.9})
REJECTED = a_rung("rejected", "rejected", {1: 50.0, 100: 50.0, 1000: 50.0})
ALL = ladder(BASELINE, FAST, FASTER, REJECTED)


def chosen(
    rungs: Mapping[str, Rung] = ALL,
    *,
    wanted: str = "auto",
    policy: Policy | None = None,
    without: tuple[str, ...] = (),
    unread: tuple[str, ...] = (),
    candidates: int = 100,
) -> Choice:
    """What is chosen with all of these loaded but those `without`, and with no rung of those `unread`."""
    state = State(dict.fromkeys([*rungs, *unread], "0" * 16), policy or Policy())
    return choose(wanted, state, rungs, frozenset(rungs) - set(without), candidates)


def pinned(variant: str) -> Policy:
    return Policy("pinned", variant)


@pytest.mark.parametrize(
    ("candidates", "variant"),
    [(1, "fast"), (2, "fast"), (50, "fast"), (51, "faster"), (500, "faster"), (10_000, "baseline")],
)
def test_the_ladder_takes_the_fastest_that_passed_at_the_nearest_measured_count(
    candidates: int, variant: str
) -> None:
    assert chosen(candidates=candidates) == Choice(variant)


def test_the_baseline_answers_on_a_tie_whatever_the_order() -> None:
    even = a_rung("even", speedups={100: 1.0})
    assert chosen(ladder(BASELINE, even)) == chosen(ladder(even, BASELINE)) == Choice("baseline")


def test_of_two_equally_fast_variants_the_first_active_one_answers() -> None:
    one, two = a_rung("one", speedups={100: 2.0}), a_rung("two", speedups={100: 2.0})
    assert chosen(ladder(BASELINE, one, two)) == Choice("one")
    assert chosen(ladder(BASELINE, two, one)) == Choice("two")


def test_a_variant_that_was_never_timed_counts_as_fast_as_the_baseline() -> None:
    assert chosen(ladder(a_rung("untimed"), BASELINE)) == Choice("baseline")
    assert a_rung("untimed").speedup_at(100) == 1.0


def test_the_baseline_is_the_measure_of_speed_whatever_its_own_report_says() -> None:
    assert a_rung("baseline", "baseline", {100: 7.0}).speedup_at(100) == 1.0


def test_the_ladder_never_takes_a_rejected_variant_while_another_may_serve() -> None:
    slow = a_rung("slow", speedups={100: 0.1})
    assert chosen(ladder(REJECTED, slow)) == Choice("slow")
    assert chosen(ladder(REJECTED, BASELINE)) == Choice("baseline")


def test_pinned_takes_what_it_names_even_when_it_is_slower_or_was_rejected() -> None:
    assert chosen(policy=pinned("baseline")) == Choice("baseline")
    assert chosen(policy=pinned("rejected")) == Choice("rejected")


def test_a_name_asks_for_that_variant_and_no_other() -> None:
    assert chosen(wanted="rejected", policy=pinned("fast")) == Choice("rejected")


def test_the_next_fastest_answers_when_the_first_choice_is_not_loaded() -> None:
    reason = "variant 'faster' is not loaded, so 'fast' answered"
    assert chosen(without=("faster",)) == Choice("fast", reason)
    assert chosen(policy=pinned("faster"), without=("faster",)) == Choice("fast", reason)
    assert chosen(without=("faster", "fast")) == Choice(
        "baseline", "variant 'faster' is not loaded, so 'baseline' answered"
    )


def test_a_rejected_variant_answers_when_nothing_else_is_loaded_and_that_is_said() -> None:
    assert chosen(ladder(BASELINE, REJECTED), without=("baseline",)) == Choice(
        "rejected", "variant 'baseline' is not loaded, so 'rejected' answered"
    )


def test_an_unreadable_baseline_is_still_the_first_choice_over_what_is_slower_or_rejected() -> None:
    slow = a_rung("slow", speedups={100: 0.5})
    for instead in (slow, REJECTED):
        choice = chosen(ladder(instead), unread=("baseline",))
        assert choice.variant == instead.variant
        assert choice.degraded_reason is not None
    assert chosen(ladder(FAST), unread=("baseline",)) == Choice("fast")


def test_a_missing_pinned_variant_is_said_even_when_nothing_of_it_can_be_read() -> None:
    choice = chosen(ladder(BASELINE), policy=pinned("gone"), unread=("gone",))
    assert choice == Choice("baseline", "variant 'gone' is not loaded, so 'baseline' answered")


def test_nothing_loaded_is_not_ready() -> None:
    with pytest.raises(NotReady):
        chosen(without=tuple(ALL))
    with pytest.raises(NotReady):
        chosen({})


@pytest.mark.parametrize("unread", [(), ("gone",)])
def test_a_name_that_is_active_but_not_loaded_is_not_ready(unread: tuple[str, ...]) -> None:
    wanted = unread[0] if unread else "fast"
    with pytest.raises(NotReady) as raised:
        chosen(wanted=wanted, without=("fast",), unread=unread)
    assert raised.value.details == {"variant": wanted}


def test_an_unknown_name_is_refused_with_the_names_that_are_active() -> None:
    with pytest.raises(
        UnknownVariant, match=r"'nope' is active; there are: baseline, fast, faster, rejected$"
    ):
        chosen(wanted="nope")
    with pytest.raises(UnknownVariant, match=r"there are: none$"):
        chosen({}, wanted="nope")


def test_an_endless_name_is_not_repeated_in_full() -> None:
    with pytest.raises(UnknownVariant) as raised:
        chosen(wanted="x" * 10_000)
    assert len(raised.value.message) < 300
    assert raised.value.details == {"variant": "x" * 100}
