"""The canary: its share of the users, always the same ones, and more of them when the percentage is raised."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from app.active import Active, Canary, Policy, State
from app.errors import UnknownVariant
from app.serving.canary import _short, place, with_canary
from app.serving.ladder import Choice
from app.serving.loaded import LoadedModel
from app.serving.query import Query
from hypothesis import given
from hypothesis import strategies as st

from tests.processes import WAIT_SECONDS
from tests.serving.asking import rank
from tests.serving.store_changes import Running, damage, play, running
from tests.small_model import NAME, SmallModel

USERS = [f"user {number}" for number in range(20_000)]
FIRST = Choice("baseline")
PERCENT = st.floats(0, 100)
PLACE_OF_U1 = 39.038495533239356
"""As it was when canaries came: every worker and every release must decide alike."""


@pytest.fixture(scope="module")
def loaded(small_model: SmallModel) -> LoadedModel:
    async def scene() -> LoadedModel:
        async with running(small_model) as one:
            return one.registry.get(NAME)

    return asyncio.run(scene())


def with_policy(model: LoadedModel, percent: float, variant: str = "int8-static") -> LoadedModel:
    state = State(model.active.state.versions, Policy("pinned", "baseline", Canary(variant, percent)))
    return replace(model, active=Active(1, state))


def asked(user: dict[str, Any] | None = None, candidates: Any = ("i1", "i2"), **changes: Any) -> Query:
    return Query(user or {}, {"device": "phone"}, candidates, **changes)


def is_in(model: LoadedModel, query: Query) -> bool:
    return with_canary(FIRST, model, query) != FIRST


def test_where_a_user_stands_never_changes() -> None:
    assert place("clicks", "int8-static", b"u1") == pytest.approx(PLACE_OF_U1)
    assert place("clicks", "int8-static", "\u00e9\ud800".encode(errors="surrogatepass")) < 100


@pytest.mark.parametrize("percent", [0.0, 0.5, 2.5, 10.0, 50.0, 99.0, 100.0])
def test_the_share_of_the_users_is_the_percentage(percent: float) -> None:
    found = sum(place("clicks", "int8", user.encode()) < percent for user in USERS) / len(USERS)
    # Four standard deviations of a share of independent users.
    spread = (percent / 100 * (1 - percent / 100) / len(USERS)) ** 0.5
    assert found == pytest.approx(percent / 100, abs=4 * spread)


def test_the_next_canary_begins_with_other_users() -> None:
    first, next_one = (
        {user for user in USERS if place("clicks", variant, user.encode()) < 10} for variant in ("a", "b")
    )
    assert len(first & next_one) / len(first) == pytest.approx(0.1, abs=0.03)
    assert len({place(model, "a", b"u1") for model in ("clicks", "films")}) == 2


@given(st.text(max_size=20), PERCENT, PERCENT)
def test_raising_the_percentage_moves_nobody_out(
    loaded: LoadedModel, user: str, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    query = asked({"user_id": user})
    assert is_in(with_policy(loaded, less), query) <= is_in(with_policy(loaded, more), query)
    assert not is_in(with_policy(loaded, 0), query)
    assert is_in(with_policy(loaded, 100), query)


@given(st.text(min_size=1, max_size=8), st.lists(st.sampled_from(USERS), max_size=4), PERCENT)
def test_a_user_is_treated_alike_whatever_is_asked(
    loaded: LoadedModel, user: str, candidates: list[str], percent: float
) -> None:
    model = with_policy(loaded, percent)
    first = is_in(model, asked({"user_id": user}))
    assert is_in(model, asked({"user_id": user, "segment": "s1"}, candidates, k=3)) == first
    assert is_in(model, asked({"user_id": user}, None, exclude=candidates)) == first


@pytest.mark.parametrize("user", [{}, {"user_id": None}, {"user_id": ""}, {"user_id": 7}, {"segment": "s1"}])
def test_without_a_user_the_same_request_is_treated_alike(loaded: LoadedModel, user: dict[str, Any]) -> None:
    model = with_policy(loaded, 50)
    found = [is_in(model, asked(user, [f"i{n}", "i1"])) for n in range(2000)]
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.05)
    assert [is_in(model, asked(user, [f"i{n}", "i1"])) for n in range(2000)] == found


def test_of_a_large_request_the_beginning_decides(loaded: LoadedModel) -> None:
    model = with_policy(loaded, 50)
    many = [f"i{n}" for n in range(1_000_000)]
    found = [is_in(model, asked({"segment": f"s{n}"}, many)) for n in range(100)]
    assert 25 < sum(found) < 75
    wide = {f"k{n}": [[[n] * 64] * 64] * 64 for n in range(64)}
    assert len(_short((wide, many))) < 20_000, "it is not written out whole"
    turned = [is_in(model, asked({"segment": f"s{n}", "age": 1})) for n in range(50)]
    assert turned == [is_in(model, asked({"age": 1, "segment": f"s{n}"})) for n in range(50)]
    digits: Any = 10**5000
    is_in(model, asked({"segment": digits}))
    is_in(model, asked({"segment": "\ud800"}))


def test_where_a_request_without_a_user_stands_is_the_same_in_every_process(loaded: LoadedModel) -> None:
    code = (
        "from app.serving.canary import _short;"
        "print(_short(({'b': None, 'a': [1.5, 'x']}, {}, None, [True, -7])))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True, timeout=WAIT_SECONDS,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert said == {f"4[2{{1'a':2[{hash(1.5)},1'x'],1'b':null}},0{{}},null,2[1,-7]]\n"}


def test_a_request_nested_without_end_breaks_nothing(loaded: LoadedModel) -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert is_in(with_policy(loaded, 100), asked({"segment": nested}))
    is_in(with_policy(loaded, 50), asked({"segment": nested}))
    while nested:  # one at a time: to free them all at once would be as deep
        nested = nested[0]


def test_a_query_that_names_its_variant_is_never_the_canarys(loaded: LoadedModel) -> None:
    model = with_policy(loaded, 100)
    for variant in ("baseline", "int8-dynamic"):
        assert with_canary(Choice(variant), model, asked(variant=variant)) == Choice(variant)
    with pytest.raises(UnknownVariant):
        asyncio.run(rank(model, asked(variant="nope")))


def test_the_canary_answers_and_the_rest_follows_the_policy(small: SmallModel) -> None:
    for base, other in ((Policy(), None), (Policy("pinned", "baseline"), "baseline")):
        policy = Policy(base.kind, base.variant, Canary("int8-dynamic", 30.0))
        small.store.activate(NAME, lambda state, policy=policy: State(state.versions, policy))

        async def scene(one: Running, policy: Policy = policy, other: str | None = other) -> None:
            model = one.registry.get(NAME)
            answers = {user: await rank(model, asked({"user_id": user})) for user in USERS[:60]}
            for user, ranking in answers.items():
                tried = place(NAME, "int8-dynamic", user.encode()) < 30.0
                assert tried == (ranking.variant == "int8-dynamic"), (
                    "the ladder never takes it: it was rejected"
                )
                assert ranking.degraded_reason is None
                assert tried or other is None or ranking.variant == other
            assert 5 < sum(one.variant == "int8-dynamic" for one in answers.values()) < 40

        play(small, scene)


def test_a_canary_that_cannot_be_loaded_is_said_and_the_policy_goes_on(small: SmallModel) -> None:
    policy = Policy("pinned", "baseline", Canary("int8-static", 100))
    small.store.activate(NAME, lambda state: State(state.versions, policy))
    version = small.store.active(NAME).state.versions["int8-static"]
    damage(small, small.store.manifest(NAME, "int8-static", version))

    async def scene(one: Running) -> None:
        ranking = await rank(one.registry.get(NAME), asked())
        assert ranking.variant == "baseline"
        assert ranking.degraded_reason == "variant 'int8-static' is not loaded, so 'baseline' answered"

    play(small, scene)
