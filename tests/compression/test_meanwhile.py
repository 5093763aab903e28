"""What changes while a compression runs: the model's files, what an admin lets serve, and what no recipe makes."""

from collections.abc import Callable

import pytest
from app.active import Canary, Policy, State
from app.errors import CompressionFailed

from tests.compression.test_pipeline import ALL, add_recipe, change_card, run, stale, versions
from tests.small_model import NAME, SmallModel

TIGHT = "auc = 0.99999\nbatch_difference = 1"


def retrain(model: SmallModel, last: bytes = b"\x00\x00\x80\x3f") -> None:
    weights = model.models / NAME / "weights"
    weights.write_bytes(weights.read_bytes()[:-4] + last)


def once(at: str, act: Callable[[], object]) -> tuple[list[str], Callable[[float, str], None]]:
    """What is told of a run, and a progress that acts at its first step whose name begins so."""
    told: list[str] = []

    def progress(done: float, what: str) -> None:
        if what.startswith(at) and not any(one.startswith(at) for one in told):
            act()
        told.append(what)

    return told, progress


@pytest.mark.parametrize("at", ["baseline: exporting", "int8-static: evaluating"])
def test_files_that_change_meanwhile_are_not_taken_for_those_that_were_read(
    ready: SmallModel, at: str
) -> None:
    before = versions(ready)
    _, progress = once(at, lambda: retrain(ready))
    with pytest.raises(CompressionFailed, match="have changed since this job began"):
        run(ready, progress, force=True)
    assert versions(ready)["int8-static"] == before["int8-static"]
    assert "int8-static" in stale(ready)
    run(ready)
    assert stale(ready) == []


def test_after_a_roll_back_a_job_lets_nothing_serve_that_belongs_to_another_baseline(
    ready: SmallModel,
) -> None:
    before = versions(ready)
    retrain(ready)
    told, progress = once("int8-static: quantize_static", lambda: ready.store.roll_back(NAME))
    outcomes = run(ready, progress, origin="a job")
    assert versions(ready) == before
    assert all(one.version is not None for one in outcomes), "they are published all the same"
    assert "int8-static: its new version is not active: another baseline than" in "\n".join(told)
    assert stale(ready) == [], "what was rolled back stays so over a restart"


@pytest.mark.parametrize(
    "policy",
    [Policy("pinned", "int8-static"), Policy(canary=Canary("int8-static", 5))],
    ids=["pin", "canary"],
)
def test_a_rejected_version_does_not_replace_the_one_that_an_admin_lets_answer(
    ready: SmallModel, policy: Policy
) -> None:
    before = versions(ready)
    ready.store.activate(NAME, lambda state: State(state.versions, policy, "an admin", "admin"))
    change_card(ready, "auc = 0.9", TIGHT)
    told: list[str] = []
    outcomes = {one.variant: one for one in run(ready, lambda done, what: told.append(what))}
    assert outcomes["int8-static"].outcome == "rejected"
    after = versions(ready)
    assert after["int8-static"] == before["int8-static"]
    assert after["int8-dynamic"] == outcomes["int8-dynamic"].version, "which no policy names"
    assert any(one.startswith("int8-static: its new version is not active: it was rejected") for one in told)
    assert stale(ready) == []


def test_what_no_recipe_makes_goes_with_the_baseline_it_was_compared_with(ready: SmallModel) -> None:
    recipe = {"name": "mine", "steps": [{"technique": "quantize_dynamic"}]}
    run(ready, recipe=recipe)
    run(ready, force=False)
    assert sorted(versions(ready)) == [*ALL, "mine"], "its baseline serves still"
    retrain(ready)
    run(ready, recipes=["int8-static"])
    assert "mine" in versions(ready), "only a run of the whole card takes anything away"
    told: list[str] = []
    run(ready, lambda done, what: told.append(what), origin="a job")
    assert sorted(versions(ready)) == ALL
    assert any(one.startswith("mine: no longer active") for one in told)
    assert "mine" in ready.store.roll_back(NAME).state.versions, "one roll-back undoes all of it"


def test_what_an_admin_has_pinned_is_not_taken_away(ready: SmallModel) -> None:
    run(ready, recipe={"name": "mine", "steps": [{"technique": "quantize_dynamic"}]})
    pinned = Policy("pinned", "mine")
    ready.store.activate(NAME, lambda state: State(state.versions, pinned, "an admin", "admin"))
    retrain(ready)
    run(ready)
    assert sorted(versions(ready)) == [*ALL, "mine"]


def test_a_new_recipe_takes_nothing_away(ready: SmallModel) -> None:
    add_recipe(ready, "more", '{ technique = "quantize_dynamic" }')
    run(ready)
    assert sorted(versions(ready)) == [*ALL, "more"]
