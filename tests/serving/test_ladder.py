"""The ladder: which variant answers, and what is said when something else must."""

from collections.abc import Mapping, Sequence

import pytest
from app.active import Policy, State
from app.errors import NotReady, UnknownVariant
from app.serving.ladder import Choice, Ladder, Rung

from tests.serving.rungs import a_rung, ladder

BASELINE = a_rung("baseline", "baseline")
FAST = a_rung("fast", speedups={1: 2.0, 100: 3.0, 1000: 0.5})
FASTER = a_rung("faster", speedups={1: 1.5, 100: 4.0, 1000: 0.9})
REJECTED = a_rung("rejected", "rejected", {1: 50.0, 100: 50.0, 1000: 50.0})
ALL = ladder(BASELINE, FAST, FASTER, REJECTED)

WORSE = a_rung("worse", speedups={100: 4.0}, kept=(0.99, 0.985, 0.995))
WORST = a_rung("worst", speedups={100: 16.0}, kept=(0.97, 0.96, 0.98))
STEPS = ladder(BASELINE, WORSE, WORST)


class Calm:
    """A load that no variant feels, but for those named."""

    def __init__(
        self,
        busy: Mapping[str, float] | None = None,
        late: tuple[str, ...] = (),
        *,
        burst: bool = False,
        faster: bool = True,
        taken: float = 0.0,
    ) -> None:
        self.busy, self.late, self.burst, self.faster = busy or {}, late, burst, faster
        self.taken = taken

    def utilizations(self, variants: Sequence[str]) -> list[float]:
        return [self.busy.get(variant, 0.0) for variant in variants]

    def taken_share(self) -> float:
        return self.taken

    def meets(self, variant: str) -> bool:
        return variant not in self.late

    def queue_is_short(self) -> bool:
        return not self.burst

    def saves(self, variant: str, instead_of: str) -> bool:  # noqa: ARG002  (the protocol's form)
        return self.faster


def a_ladder(
    rungs: Mapping[str, Rung] = ALL,
    *,
    policy: Policy | None = None,
    without: tuple[str, ...] = (),
    unread: tuple[str, ...] = (),
) -> Ladder:
    """With all of these loaded but those `without`, and with no rung of those `unread`."""
    state = State(dict.fromkeys([*rungs, *unread], "0" * 16), policy or Policy())
    return Ladder(state, rungs, frozenset(rungs) - set(without), settle_seconds=0.0)


def chosen(
    rungs: Mapping[str, Rung] = ALL,
    *,
    wanted: str = "auto",
    policy: Policy | None = None,
    without: tuple[str, ...] = (),
    unread: tuple[str, ...] = (),
    candidates: int = 100,
) -> Choice:
    """What is chosen when there is no load."""
    one = a_ladder(rungs, policy=policy, without=without, unread=unread)
    return one.choose(wanted, candidates, Calm())


def pinned(variant: str) -> Policy:
    return Policy("pinned", variant)


@pytest.mark.parametrize(
    ("candidates", "variant"),
    [(1, "fast"), (2, "fast"), (50, "fast"), (51, "faster"), (500, "faster"), (10_000, "baseline")],
)
def test_of_variants_equally_good_the_fastest_at_the_nearest_measured_count_answers(
    candidates: int, variant: str
) -> None:
    assert chosen(candidates=candidates) == Choice(variant)


def test_the_best_is_on_top_and_each_rung_below_is_cheaper_and_worse() -> None:
    same = a_rung("same", speedups={100: 1.5}, kept=(0.999, 0.98, 1.01))
    slow = a_rung("slow", speedups={100: 1.2}, kept=(0.98, 0.975, 0.985))
    better = a_rung("better", speedups={100: 0.8}, kept=(1.2, 1.1, 1.3))
    rungs = ladder(WORST, slow, BASELINE, WORSE, REJECTED, same)
    assert a_ladder(rungs).rungs_of_auto(100) == (["same", "worse", "worst"], None)
    with_better = a_ladder(rungs | ladder(better))
    assert with_better.rungs_of_auto(100) == (
        ["better", "baseline", "same", "worse", "worst"],
        None,
    )


def test_below_the_top_a_difference_that_the_rows_cannot_prove_makes_a_rung_all_the_same() -> None:
    near = a_rung("near", speedups={100: 20.0}, kept=(0.98, 0.96, 0.999))
    assert a_ladder(ladder(BASELINE, WORSE, near)).rungs_of_auto(100) == (["baseline", "worse", "near"], None)


def test_a_better_and_faster_variant_leaves_no_rungs_below_it() -> None:
    best = a_rung("best", speedups={100: 30.0}, kept=(1.2, 1.1, 1.3))
    assert a_ladder(STEPS | ladder(best)).rungs_of_auto(100) == (["best"], None)


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


def test_auto_never_takes_a_rejected_variant_while_another_may_serve() -> None:
    slow = a_rung("slow", speedups={100: 0.1})
    assert chosen(ladder(REJECTED, slow)) == Choice("slow")
    assert chosen(ladder(REJECTED, BASELINE)) == Choice("baseline")


def test_too_much_load_for_a_rung_lets_the_next_answer_and_says_so() -> None:
    one = a_ladder(STEPS)
    assert one.choose("auto", 100, Calm()) == Choice("baseline")
    reason = "'baseline' would be late under this load, so 'worse' answered"
    assert one.choose("auto", 100, Calm({"baseline": 1.5, "worse": 0.6})) == Choice("worse", reason)
    found = one.choose("auto", 100, Calm({"baseline": 9.0, "worse": 3.0, "worst": 2.0}))
    assert found.variant == "worst"


def test_a_near_deadline_lets_a_cheaper_variant_answer_for_this_request_alone() -> None:
    one = a_ladder(STEPS)
    tight = one.choose("auto", 100, Calm(late=("baseline", "worse")))
    assert tight == Choice("worst", "'baseline' would be late, so 'worst' answered")
    assert one.choose("auto", 100, Calm()) == Choice("baseline")


def test_where_only_the_queue_is_long_no_other_variant_makes_it_longer() -> None:
    one = a_ladder(STEPS)
    assert one.choose("auto", 100, Calm(late=("baseline",), faster=False)) == Choice("baseline")
    assert one.choose("auto", 100, Calm(burst=True, faster=False)) == Choice("baseline")
    assert one.choose("auto", 100, Calm(late=tuple(STEPS), faster=False)) == Choice("baseline")
    nobody = one.choose("auto", 100, Calm(late=tuple(STEPS)))
    assert nobody.variant == "worst", "which is told to come again, and not that it is too large"


def test_what_comes_in_a_burst_is_not_lifted() -> None:
    one = a_ladder(STEPS)
    busy = {"baseline": 2.0, "worse": 0.5, "worst": 0.1}
    assert {one.choose("auto", 100, Calm(busy, burst=True)).variant for _ in range(100)} == {"worst"}
    same = Calm(busy, burst=True, faster=False)
    assert {one.choose("auto", 100, same).variant for _ in range(100)} == {"worse"}
    assert a_ladder(STEPS).choose("auto", 100, Calm(burst=True)).variant == "worse", (
        "before the load shows it"
    )


def test_pinned_takes_what_it_names_even_when_it_is_slower_or_was_rejected() -> None:
    assert chosen(policy=pinned("baseline")) == Choice("baseline")
    assert chosen(policy=pinned("rejected")) == Choice("rejected")
    busy = a_ladder(STEPS, policy=pinned("baseline")).choose("auto", 100, Calm({"baseline": 9.0}))
    assert busy == Choice("baseline"), "what is pinned does not step down"


def test_a_name_asks_for_that_variant_and_no_other() -> None:
    assert chosen(wanted="rejected", policy=pinned("fast")) == Choice("rejected", is_open=False)


def test_the_next_choice_answers_when_the_first_is_not_loaded() -> None:
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


def test_requests_that_the_rung_above_answers_are_not_degraded() -> None:
    one = a_ladder(STEPS)
    busy = Calm({"baseline": 2.0, "worse": 0.5, "worst": 0.1})
    answers = [one.choose("auto", 100, busy) for _ in range(300)]
    share = sum(answer.variant == "baseline" for answer in answers) / len(answers)
    assert share == pytest.approx((0.8 - 0.5) / (2.0 - 0.5), abs=0.02)
    assert all((answer.degraded_reason is None) == (answer.variant == "baseline") for answer in answers)
    assert {answer.variant for answer in answers} == {"baseline", "worse"}


def test_what_names_its_variant_leaves_less_room_and_makes_no_rung_look_as_cheap() -> None:
    busy = {"baseline": 0.10, "worse": 0.02, "worst": 0.01}
    assert a_ladder(STEPS).choose("auto", 100, Calm(busy)).variant == "baseline"
    found = a_ladder(STEPS).choose("auto", 100, Calm(busy, taken=0.85))
    assert found.variant == "worse"
    one = a_ladder(STEPS)
    lifted = [one.choose("auto", 100, Calm(busy, taken=0.85)).variant for _ in range(50)]
    assert "baseline" not in lifted, "there is no room"
