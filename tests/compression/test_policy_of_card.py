"""The policy of the model card: a compression lets it serve, and leaves an admin's alone."""

from app.active import Canary, Policy, Shadow, State

from tests.compression.test_pipeline import change_card, run, stale
from tests.small_model import NAME, SmallModel

POLICY = """
[policy]
kind = "pinned"
variant = "int8-static"
canary = { variant = "int8-dynamic", percent = 10 }
shadow = { variant = "baseline", percent = 1 }
"""


def test_the_policy_of_the_card_serves_as_far_as_it_can(ready: SmallModel) -> None:
    change_card(ready, "[budget]", f"{POLICY}\n[budget]")
    assert stale(ready) == [], "a policy is nothing that variants are made from"
    told: list[str] = []
    outcomes = run(ready, lambda done, what: told.append(what), origin="a job")
    assert [one.reused for one in outcomes] == [True] * 3
    active = ready.store.active(NAME)
    assert active.state.policy == Policy("pinned", "int8-static", shadow=Shadow("baseline", 1))
    assert told == ["the card's policy: canary 'int8-dynamic' is left out: it was rejected", "done"]
    run(ready, origin="another job")
    assert ready.store.active(NAME) == active
    assert ready.store.roll_back(NAME).state.policy == Policy()


def test_a_policy_that_an_admin_has_set_outlasts_a_compression(ready: SmallModel) -> None:
    by_admin = Policy(canary=Canary("int8-static", 5))
    ready.store.activate(NAME, lambda state: State(state.versions, by_admin, "an admin", "admin"))
    change_card(ready, "[budget]", f"{POLICY}\n[budget]")
    run(ready, force=True)
    state = ready.store.active(NAME).state
    assert (state.policy, state.policy_set_by) == (by_admin, "admin")
