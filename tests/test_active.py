"""The active state and its history: what a change keeps and what a roll-back brings back."""

import msgspec
import pytest
from app.active import MAX_HISTORY, Active, Canary, Policy, Shadow, State
from app.errors import Conflict
from hypothesis import given
from hypothesis import strategies as st

STATES = st.builds(
    State,
    st.dictionaries(st.sampled_from(["baseline", "int8"]), st.sampled_from(["1", "2"]), max_size=2),
    st.builds(
        Policy,
        st.sampled_from(["ladder", "pinned"]),
        st.sampled_from([None, "int8"]),
        st.none() | st.builds(Canary, st.just("int8"), st.floats(0, 100)),
        st.none() | st.builds(Shadow, st.just("baseline"), st.floats(0, 100)),
    ),
    st.sampled_from(["job 1", "job 2", "admin"]),
    st.sampled_from([None, "card", "admin"]),
)


def state(version: str, origin: str) -> State:
    return State({"baseline": version}, Policy(), origin)


def after(*states: State) -> Active:
    active = Active()
    for one in states:
        active = active.changed(one)
    return active


def test_before_anything_is_activated_there_is_nothing_to_go_back_to() -> None:
    with pytest.raises(Conflict, match="no earlier state"):
        Active().rolled_back()
    with pytest.raises(Conflict, match="no earlier state"):
        after(state("1", "a")).rolled_back()


def test_a_change_is_a_new_revision_and_keeps_the_state_before() -> None:
    active = after(state("1", "a"), state("2", "b"))
    assert active == Active(2, state("2", "b"), [state("1", "a")])


def test_no_change_is_no_revision() -> None:
    active = after(state("1", "a"))
    assert active.changed(state("1", "a")) is active


def test_changes_of_one_origin_in_a_row_are_undone_together() -> None:
    active = after(state("1", "a"), state("2", "job"), state("3", "job"), state("4", "job"))
    assert active.history == [state("1", "a")]
    assert active.rolled_back().state == state("1", "a")


def test_changes_of_one_origin_with_another_between_them_are_not() -> None:
    active = after(state("1", "a"), state("2", "b"), state("3", "a"))
    assert active.rolled_back().state == state("2", "b")


def test_a_policy_is_a_change_as_well() -> None:
    pinned = State({"baseline": "1"}, Policy("pinned", "baseline"), "b")
    assert after(state("1", "a"), pinned).rolled_back().state == state("1", "a")


def test_rolling_back_goes_further_back_each_time() -> None:
    active = after(*(state(str(number), f"origin {number}") for number in range(3)))
    seen = []
    for _ in range(2):
        active = active.rolled_back()
        seen.append(active.state.versions["baseline"])
    assert seen == ["1", "0"]
    assert active.revision == 5
    with pytest.raises(Conflict):
        active.rolled_back()


def test_only_so_many_states_are_kept() -> None:
    active = after(*(state(str(number), f"origin {number}") for number in range(MAX_HISTORY + 5)))
    assert len(active.history) == MAX_HISTORY
    assert active.history[-1] == state(str(MAX_HISTORY + 3), f"origin {MAX_HISTORY + 3}")


@given(states=st.lists(STATES, max_size=15))
def test_whatever_changes_the_history_has_no_gap_and_no_end(states: list[State]) -> None:
    active = Active()
    for one in states:
        before, active = active, active.changed(one)
        assert active.state == one
        assert active.revision == before.revision + (one != before.state)
        assert len(active.history) <= MAX_HISTORY
        # A roll-back leads to what served before, or before all changes of the same origin.
        if active.history != before.history:
            assert active.rolled_back().state == before.state
    assert msgspec.json.decode(msgspec.json.encode(active), type=Active) == active


@pytest.mark.parametrize(
    "data",
    [
        b'{"revision": "1"}',
        b'{"state": {"versions": {"baseline": 1}}}',
        b'{"state": {"policy": {"kind": "random"}}}',
        b'{"state": {"policy": {"canary": {"variant": "int8", "percent": 100.1}}}}',
        b'{"state": {"policy": {"canary": {"variant": "int8", "percent": -1}}}}',
        b'{"state": {"policy": {"shadow": {"variant": "int8"}}}}',
        b'{"state": {"policy": {"shadow": {"variant": "int8", "percent": 1, "colour": "red"}}}}',
        b'{"state": {"policy_set_by": "nobody"}}',
        b'{"unknown": 1}',
        b'{"state": {"unknown": 1}}',
    ],
)
def test_a_foreign_state_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=Active)


def decoded(text: str) -> Active:
    return msgspec.json.decode(text, type=Active)


def test_a_state_from_before_there_were_canaries_is_read() -> None:
    old = (
        '{"revision": 3, "state": {"versions": {"baseline": "1"}, "policy": '
        '{"kind": "pinned", "variant": "baseline"}, "origin": "a"}, "history": []}'
    )
    assert decoded(old) == Active(3, State({"baseline": "1"}, Policy("pinned", "baseline"), "a"))


def test_a_state_that_needs_nothing_new_is_written_as_it_was_before_there_were_canaries() -> None:
    encoded = msgspec.json.encode(Active(1, State({"baseline": "1"}, Policy("pinned", "baseline"), "a")))
    assert msgspec.json.decode(encoded)["state"] == {
        "versions": {"baseline": "1"},
        "policy": {"kind": "pinned", "variant": "baseline"},
        "origin": "a",
    }


def test_the_card_is_followed_until_an_admin_sets_a_policy() -> None:
    pinned = Policy("pinned", "int8")
    assert State().follows_card
    assert State(policy=pinned, policy_set_by="card").follows_card
    assert not State(policy_set_by="admin").follows_card
    assert not State(policy=pinned).follows_card, "it is older than policies of cards"


def test_a_roll_back_brings_back_the_whole_policy_and_who_set_it() -> None:
    policy = Policy("pinned", "int8", Canary("student", 2.5), Shadow("baseline", 1))
    canary = State({"baseline": "1"}, policy, "a", "admin")
    active = decoded(
        msgspec.json.encode(after(canary, State({"baseline": "1"}, Policy(), "b", "card"))).decode()
    )
    assert active.rolled_back().state == canary


def test_a_policy_is_described_in_a_few_words() -> None:
    assert Policy().described() == "ladder"
    policy = Policy("pinned", "int8", Canary("student", 2.5), Shadow("baseline", 100))
    assert policy.described() == "pinned to int8, canary student for 2.5%, shadow baseline for 100%"
    assert policy.variants() == {"int8", "student", "baseline"}
