"""The policy as people write it: what fits together, and the words in which the rest is refused."""

from typing import Any

import pytest
from app import active
from app.card_policy import as_shown, to_serve
from app.policy import Policy
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

NAMES = st.sampled_from(["baseline", "int8", "student"])
PARTS = st.none() | st.fixed_dictionaries({"variant": NAMES, "percent": st.floats(0, 100)})


def canary(variant: str = "student", percent: float = 10) -> dict[str, Any]:
    return {"variant": variant, "percent": percent}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "kind"),
        ({"kind": "random"}, "kind"),
        ({"kind": "pinned"}, "`policy.variant` goes with the kind 'pinned'"),
        ({"kind": "ladder", "variant": "int8"}, "`policy.variant` goes with the kind 'pinned'"),
        ({"kind": "ladder", "canary": canary(percent=-0.1)}, "canary.percent"),
        ({"kind": "ladder", "canary": canary(percent=100.1)}, "canary.percent"),
        ({"kind": "ladder", "canary": {"variant": "student", "percent": "5"}}, "canary.percent"),
        ({"kind": "ladder", "canary": {"variant": "student", "percent": True}}, "canary.percent"),
        ({"kind": "ladder", "canary": canary(percent=float("nan"))}, "canary.percent"),
        ({"kind": "ladder", "shadow": canary(percent=float("inf"))}, "shadow.percent"),
        ({"kind": "ladder", "canary": canary("")}, "canary.variant"),
        ({"kind": "ladder", "canary": {"variant": "student"}}, "canary.percent"),
        ({"kind": "ladder", "canary": canary() | {"users": 1}}, "canary.users"),
        ({"kind": "pinned", "variant": "int8", "canary": canary("int8")}, "'int8', which is pinned already"),
        ({"kind": "pinned", "variant": "int8", "shadow": canary("int8")}, "compare 'int8' with itself"),
        (
            {"kind": "pinned", "variant": "int8", "canary": canary(percent=0), "shadow": canary("int8")},
            "compare 'int8' with itself",
        ),
        (
            {"kind": "ladder", "canary": canary(percent=100), "shadow": canary("student")},
            "compare 'student' with itself",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Policy.model_validate(content)
    (error,) = raised.value.errors()
    assert said in ".".join(map(str, error["loc"])) + error["msg"]


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "ladder", "shadow": canary("baseline", 0)},
        {"kind": "ladder", "canary": canary(percent=0)},
        {"kind": "ladder", "canary": canary(percent=0.01), "shadow": canary("student")},
        {"kind": "pinned", "variant": "int8", "canary": canary(), "shadow": canary("int8")},
        {"kind": "pinned", "variant": "int8", "canary": canary(), "shadow": canary("student")},
    ],
)
def test_a_shadow_of_those_who_do_not_answer_everything_is_fine(content: dict[str, Any]) -> None:
    policy = Policy.model_validate(content)
    assert as_shown(to_serve(policy)).model_dump() == policy.model_dump()


@given(st.sampled_from(["ladder", "pinned"]), NAMES, PARTS, PARTS)
def test_what_serves_is_what_was_written(kind: str, variant: str, tried: Any, compared: Any) -> None:
    content = {"kind": kind, "variant": variant if kind == "pinned" else None, "canary": tried}
    try:
        policy = Policy.model_validate(content | {"shadow": compared})
    except ValidationError:
        return
    serving = to_serve(policy)
    assert isinstance(serving, active.Policy)
    assert serving.variants() == policy.variants()
    assert as_shown(serving).model_dump() == policy.model_dump()


def test_whatever_serves_is_shown() -> None:
    odd = active.Policy("pinned", None, active.Canary("int8", 5.0))
    assert as_shown(odd).model_dump() == {
        "kind": "pinned",
        "variant": None,
        "canary": {"variant": "int8", "percent": 5.0},
        "shadow": None,
    }
