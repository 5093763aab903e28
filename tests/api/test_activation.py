"""Activate and roll back: which versions serve, and by which policy, as the admin says."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from app.api.answers import ActiveState, ModelDetail, Readiness
from app.store import ACTIVE_FILE
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, RANK, answered, look_at_the_store, ranking_of, refused, serving
from tests.processes import WAIT_SECONDS
from tests.serving.store_changes import active_version, damage, publish_again
from tests.small_model import NAME, SmallModel

ACTIVATE = f"/admin/models/{NAME}/activate"
ROLL_BACK = f"/admin/models/{NAME}/rollback"
PINNED = {"kind": "pinned", "variant": "baseline"}


def activate(own: TestClient, **body: Any) -> ActiveState:
    return answered(own.post(ACTIVATE, json=body, headers=ADMIN), ActiveState)


def roll_back(own: TestClient) -> ActiveState:
    return answered(own.post(ROLL_BACK, headers=ADMIN), ActiveState)


def refusal(own: TestClient, code: str, **body: Any) -> str:
    return refused(own.post(ACTIVATE, json=body, headers=ADMIN), code)


def answering(own: TestClient, variant: str = "auto") -> tuple[str, str]:
    found = ranking_of(own.post(RANK, json={"candidates": ["i1", "i2"], "variant": variant}))
    return found.variant, found.version


def test_a_policy_is_pinned_and_given_up_again(own: TestClient) -> None:
    pinned = activate(own, policy={"kind": "pinned", "variant": "int8-dynamic"})
    assert (pinned.policy.kind, pinned.policy.variant) == ("pinned", "int8-dynamic")
    look_at_the_store(own)
    assert answering(own)[0] == "int8-dynamic"
    assert answered(own.get(f"/v1/models/{NAME}"), ModelDetail).policy == pinned.policy
    free = activate(own, policy={"kind": "ladder"})
    assert (free.policy.kind, free.revision) == ("ladder", pinned.revision + 1)
    look_at_the_store(own)
    assert answering(own)[0] != "int8-dynamic", "it was rejected"


def test_another_version_serves_once_it_is_activated(own: TestClient, small: SmallModel) -> None:
    old, new = active_version(small, "int8-static"), publish_again(small, "int8-static").version
    changed = activate(own, variant="int8-static")
    assert changed.versions["int8-static"] == new, "without a version, the newest"
    look_at_the_store(own)
    assert answering(own, "int8-static") == ("int8-static", new)
    assert activate(own, variant="int8-static", version=old).versions["int8-static"] == old
    look_at_the_store(own)
    assert answering(own, "int8-static") == ("int8-static", old)


def test_version_and_policy_change_together(own: TestClient, small: SmallModel) -> None:
    new = publish_again(small, "baseline").version
    changed = activate(own, variant="baseline", policy=PINNED)
    assert (changed.versions["baseline"], changed.policy.variant) == (new, "baseline")
    before = roll_back(own)
    assert (before.versions["baseline"] == new, before.policy.kind) == (False, "ladder")


def test_each_request_is_a_change_of_its_own_and_rolled_back_alone(own: TestClient) -> None:
    first = activate(own, policy=PINNED)
    second = activate(own, policy={"kind": "pinned", "variant": "int8-static"})
    assert (first.can_roll_back, second.revision) == (True, first.revision + 1)
    assert roll_back(own).policy == first.policy
    assert roll_back(own).policy.kind == "ladder"
    refused(own.post(ROLL_BACK, headers=ADMIN), "conflict")


def test_what_is_so_already_changes_nothing(own: TestClient) -> None:
    first = activate(own, policy=PINNED)
    assert activate(own, policy=PINNED) == first
    assert activate(own, variant="baseline", version=first.versions["baseline"]) == first


def test_requests_at_once_are_all_kept_apart(own: TestClient) -> None:
    variants = ["baseline", "int8-static", "int8-dynamic", "baseline", "int8-static", "int8-dynamic"]
    start = threading.Barrier(len(variants))

    def change(variant: str) -> int:
        start.wait(WAIT_SECONDS)
        policy = {"kind": "pinned", "variant": variant}
        return activate(own, policy=policy).revision

    before = answered(own.get(f"/v1/models/{NAME}"), ModelDetail).revision
    with ThreadPoolExecutor(len(variants)) as threads:
        revisions = list(threads.map(change, variants))
    last = answered(own.get(f"/v1/models/{NAME}"), ModelDetail).revision
    assert {*revisions} == set(range(before + 1, last + 1))
    for _ in range(last - before):
        state = roll_back(own)
    assert (state.policy.kind, state.can_roll_back) == ("ladder", False)


def test_a_roll_back_without_a_change_is_a_conflict(own: TestClient) -> None:
    assert "no earlier state" in refused(own.post(ROLL_BACK, headers=ADMIN), "conflict")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "give `variant`, `policy`, or both"),
        ({"variant": None, "policy": None}, "give `variant`, `policy`, or both"),
        ({"version": "0" * 16}, "give `variant`, `policy`, or both"),
        ({"version": "0" * 16, "policy": PINNED}, "`version` goes with `variant`"),
        ({"follow_card": True, "policy": PINNED}, "leave `policy` out"),
        ({"follow_card": "yes please"}, "follow_card"),
        ({"variant": "baseline", "version": "newest"}, "version"),
        ({"variant": "baseline", "version": "0" * 17}, "version"),
        ({"variant": "../baseline"}, "variant"),
        ({"variant": "_catalog"}, "variant"),
        ({"variant": 1}, "variant"),
        ({"policy": "ladder"}, "policy"),
        ({"policy": {}}, "policy.kind"),
        ({"policy": {"kind": "random"}}, "policy.kind"),
        ({"policy": {"kind": "pinned"}}, "`policy.variant` goes with the kind 'pinned'"),
        (
            {"policy": {"kind": "ladder", "variant": "baseline"}},
            "`policy.variant` goes with the kind 'pinned'",
        ),
        ({"policy": {"kind": "ladder", "colour": "red"}}, "policy.colour"),
    ],
)
def test_wrong_requests_are_refused(own: TestClient, body: dict[str, Any], said: str) -> None:
    assert said in refusal(own, "invalid_input", **body)
    assert not answered(own.get(f"/v1/models/{NAME}"), ModelDetail).can_roll_back


CANARY = {"variant": "int8-static", "percent": 2.5}
SHADOW = {"variant": "baseline", "percent": 1}


def test_canary_and_shadow_are_set_shown_replaced_and_rolled_back(own: TestClient) -> None:
    policy = {"kind": "ladder", "canary": CANARY, "shadow": SHADOW}
    changed = activate(own, policy=policy)
    assert changed.policy.model_dump(exclude_none=True) == policy
    assert not changed.follows_card
    look_at_the_store(own)
    shown = answered(own.get(f"/v1/models/{NAME}"), ModelDetail)
    assert (shown.policy, shown.follows_card) == (changed.policy, False)
    more = activate(own, policy={"kind": "ladder", "canary": CANARY | {"percent": 50}})
    assert (more.policy.canary.percent, more.policy.shadow) == (50, None), "a policy is set as a whole"
    assert roll_back(own).policy == changed.policy
    before = roll_back(own)
    assert (before.policy.canary, before.follows_card) == (None, True)


def test_the_policy_survives_a_restart(own: TestClient, small: SmallModel) -> None:
    everyone = {"kind": "pinned", "variant": "baseline", "canary": CANARY | {"percent": 100}}
    set_before = activate(own, policy=everyone)
    with serving(small) as restarted:
        assert answered(restarted.get(f"/v1/models/{NAME}"), ModelDetail).policy == set_before.policy
        assert answering(restarted)[0] == "int8-static"
        assert answering(restarted, "baseline")[0] == "baseline", "a name is no part of a canary"


def test_the_policy_of_the_card_serves_again_when_the_admins_is_given_up(
    own: TestClient, small: SmallModel
) -> None:
    card = small.models / NAME / "model.toml"
    policy = '[policy]\nkind = "pinned"\nvariant = "int8-static"\n\n[budget]'
    card.write_text(card.read_text().replace("[budget]", policy))
    assert not activate(own, policy=PINNED).follows_card
    followed = activate(own, follow_card=True)
    assert (followed.policy.variant, followed.follows_card) == ("int8-static", True)
    assert activate(own, follow_card=True).revision == followed.revision
    card.write_text("name = 1")
    assert "model.toml" in refusal(own, "configuration", follow_card=True)
    card.unlink()
    assert "it has no card to follow" in refusal(own, "conflict", follow_card=True)


@pytest.mark.parametrize(
    ("policy", "code", "said"),
    [
        (
            {"canary": CANARY | {"variant": "nope"}},
            "unknown_variant",
            "'nope' is not active; there are: base",
        ),
        (
            {"shadow": SHADOW | {"variant": "nope"}},
            "unknown_variant",
            "'nope' is not active; there are: base",
        ),
        ({"canary": CANARY | {"percent": 100.5}}, "invalid_input", "policy.canary.percent"),
        ({"canary": CANARY | {"percent": -1}}, "invalid_input", "policy.canary.percent"),
        ({"canary": CANARY | {"percent": "half"}}, "invalid_input", "policy.canary.percent"),
        ({"canary": "int8-static"}, "invalid_input", "policy.canary"),
        ({"shadow": SHADOW | {"share": 1}}, "invalid_input", "policy.shadow.share"),
        (
            {"kind": "pinned", "variant": "int8-static", "canary": CANARY},
            "invalid_input",
            "'int8-static', which is pinned already",
        ),
        (
            {"kind": "pinned", "variant": "baseline", "shadow": SHADOW},
            "invalid_input",
            "would compare 'baseline' with itself",
        ),
    ],
)
def test_a_wrong_canary_or_shadow_is_refused_and_changes_nothing(
    own: TestClient, policy: dict[str, Any], code: str, said: str
) -> None:
    assert said in refusal(own, code, policy={"kind": "ladder"} | policy)
    assert not answered(own.get(f"/v1/models/{NAME}"), ModelDetail).can_roll_back


def test_unknown_names_are_not_found(own: TestClient) -> None:
    assert "there are: baseline, int8-dynamic, int8-static" in refusal(own, "unknown_variant", variant="nope")
    assert "there are: " in refusal(own, "unknown_variant", policy={"kind": "pinned", "variant": "nope"})
    assert "0000" in refusal(own, "unknown_version", variant="baseline", version="0" * 16)
    for path in ("/admin/models/nope/activate", "/admin/models/nope/rollback"):
        refused(own.post(path, json={"policy": PINNED}, headers=ADMIN), "unknown_model")


def test_a_damaged_version_is_not_the_newest_and_not_to_be_had(own: TestClient, small: SmallModel) -> None:
    old = active_version(small, "int8-static")
    new = publish_again(small, "int8-static")
    damage(small, new, "manifest.json")
    assert activate(own, variant="int8-static").versions["int8-static"] == old
    refusal(own, "artifact_corrupt", variant="int8-static", version=new.version)
    damage(small, small.store.manifest(NAME, "int8-static", old), "manifest.json")
    assert "no version that can be read" in refusal(own, "unknown_version", variant="int8-static")


def test_a_version_that_cannot_be_loaded_is_told_by_readiness(own: TestClient, small: SmallModel) -> None:
    old, new = active_version(small, "baseline"), publish_again(small, "baseline")
    damage(small, new, "model.onnx")
    activate(own, variant="baseline")
    look_at_the_store(own)
    assert answering(own, "baseline") == ("baseline", old)
    ready = answered(own.get("/health/ready"), Readiness)
    assert ready.models[NAME].loaded["baseline"] == old
    assert "model.onnx is not what was published" in ready.models[NAME].failures["baseline"]


def test_a_policy_that_no_person_may_write_is_shown_all_the_same(own: TestClient, small: SmallModel) -> None:
    path = small.store_folder / NAME / ACTIVE_FILE
    state = json.loads(path.read_bytes())
    shadowed = {"variant": "baseline", "percent": 1.0}
    state["state"] |= {"policy": PINNED | {"shadow": shadowed}, "policy_set_by": "card"}
    path.write_text(json.dumps(state))
    look_at_the_store(own)
    (summary,) = own.get("/v1/models").json()["models"]
    detail = own.get(f"/v1/models/{NAME}").json()
    for one in (summary, detail):
        assert (one["policy"]["variant"], one["policy"]["shadow"]) == ("baseline", shadowed)
    assert activate(own, policy=PINNED).policy.shadow is None
