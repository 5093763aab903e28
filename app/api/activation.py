"""/admin/models/{model}/activate and /rollback: which versions serve, and by which policy."""

import secrets
from typing import Annotated, Self

from fastapi import APIRouter
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.active import Active, State
from app.active import Policy as ActivePolicy
from app.api.answers import ActiveState
from app.api.body import described_model, json_body
from app.api.envelope import error_examples
from app.api.security import ADMIN_ERRORS, Admin
from app.api.state import Parts, Service
from app.card_policy import as_shown, to_serve, with_card_policy
from app.errors import ActiveCorrupt, Conflict, InvalidInput, UnknownModel, UnknownVariant, UnknownVersion
from app.model_card import VARIANT_NAME
from app.policy import Policy
from app.store import ArtifactStore

router = APIRouter(prefix="/admin/models/{model}", tags=["admin"], dependencies=[Admin])
_ERRORS = {
    **ADMIN_ERRORS,
    **error_examples(UnknownModel, UnknownVariant, UnknownVersion, InvalidInput, Conflict, ActiveCorrupt),
}


class ActivateRequest(BaseModel):
    """Another version of a variant, another policy, or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"policy": {"kind": "pinned", "variant": "baseline"}},
                {"policy": {"kind": "ladder"}},
                {
                    "policy": {
                        "kind": "ladder",
                        "canary": {"variant": "int8-static", "percent": 2.5},
                        "shadow": {"variant": "baseline", "percent": 1},
                    }
                },
                {"follow_card": True},
                {"variant": "int8-static"},
            ]
        },
    )

    variant: Annotated[str, Field(pattern=VARIANT_NAME)] | None = Field(
        default=None, description="The variant to activate."
    )
    version: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = Field(
        default=None, description="Its version; without one, the newest."
    )
    policy: Policy | None = Field(
        default=None, description="How `auto` chooses, as a whole; without one, as it is."
    )
    follow_card: bool = Field(
        default=False,
        strict=True,
        description="Give up the policy that an admin set: that of the model card serves again.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.variant is None and self.policy is None and not self.follow_card:
            raise ValueError("give `variant`, `policy`, or both; or `follow_card`")
        if self.version is not None and self.variant is None:
            raise ValueError("`version` goes with `variant`")
        if self.policy is not None and self.follow_card:
            raise ValueError("`follow_card` sets the policy of the model card: leave `policy` out")
        return self


@router.post("/activate", responses=_ERRORS, openapi_extra=described_model(ActivateRequest))
def activate(
    model: str, body: Annotated[ActivateRequest, json_body(ActivateRequest)], parts: Parts
) -> ActiveState:
    """Let another version or another policy serve; workers take it up without a dropped request."""
    parts.check_published(model)
    version = _version(parts.store, model, body)
    # Each request is a change of its own for a roll-back, even of two at once.
    origin = f"admin request {secrets.token_hex(4)}"

    def change(state: State) -> State:
        after = replace(state, origin=origin)
        if body.variant is not None and version is not None:
            after = replace(after, versions={**state.versions, body.variant: version})
        if body.policy is not None:
            after = replace(after, policy=to_serve(body.policy), policy_set_by="admin")
        if body.follow_card:
            after = _with_card_policy(parts, model, after)
        _check_active(after)
        return state if replace(after, origin=state.origin) == state else after

    return _answer(model, parts.store.activate(model, change))


@router.post("/rollback", responses={**ADMIN_ERRORS, **error_examples(UnknownModel, Conflict, ActiveCorrupt)})
def roll_back(model: str, parts: Parts) -> ActiveState:
    """Let the state before the last change serve again."""
    parts.check_published(model)
    return _answer(model, parts.store.roll_back(model))


def _with_card_policy(parts: Service, model: str, state: State) -> State:
    if model not in parts.registry.expected():
        raise Conflict(f"model {model!r} is served from the store alone: it has no card to follow")
    followed = replace(state, policy=ActivePolicy(), policy_set_by=None)
    return with_card_policy(followed, parts.card(model), parts.store)[0]


def _check_active(state: State) -> None:
    """Raise UnknownVariant when the policy names what is not active."""
    for variant in sorted(state.policy.variants() - state.versions.keys()):
        known = ", ".join(sorted(state.versions))
        raise UnknownVariant(f"variant {variant[:100]!r} is not active; there are: {known}")


def _version(store: ArtifactStore, model: str, body: ActivateRequest) -> str | None:
    if body.variant is None:
        return None
    if body.variant not in store.variants(model):
        known = ", ".join(store.variants(model))
        raise UnknownVariant(
            f"no variant {body.variant!r} is published; there are: {known}", variant=body.variant
        )
    if body.version is not None:
        return store.manifest(model, body.variant, body.version).version
    newest = next(iter(store.manifests(model, body.variant)), None)
    if newest is None:  # every version of it is damaged
        raise UnknownVersion(
            f"variant {body.variant!r} has no version that can be read", variant=body.variant
        )
    return newest.version


def _answer(model: str, active: Active) -> ActiveState:
    return ActiveState(
        model=model,
        revision=active.revision,
        versions=active.state.versions,
        policy=as_shown(active.state.policy),
        follows_card=active.state.follows_card,
        can_roll_back=bool(active.history),
    )
