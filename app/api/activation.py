"""/admin/models/{model}/activate and /rollback: which versions serve, and by which policy."""

import secrets
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.active import Active, State
from app.active import Policy as ActivePolicy
from app.api.answers import ActiveState, Policy
from app.api.body import described_model, json_body
from app.api.envelope import error_examples
from app.api.security import ADMIN_ERRORS, Admin
from app.api.state import Parts
from app.errors import Conflict, InvalidInput, UnknownModel, UnknownVariant, UnknownVersion
from app.model_card import VARIANT_NAME
from app.store import ArtifactStore

router = APIRouter(prefix="/admin/models/{model}", tags=["admin"], dependencies=[Admin])
_ERRORS = {
    **ADMIN_ERRORS,
    **error_examples(UnknownModel, UnknownVariant, UnknownVersion, InvalidInput, Conflict),
}


class ActivateRequest(BaseModel):
    """Another version of a variant, another policy, or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"policy": {"kind": "pinned", "variant": "baseline"}},
                {"policy": {"kind": "ladder"}},
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
    policy: Policy | None = Field(default=None, description="How `auto` chooses; without one, as it is.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.variant is None and self.policy is None:
            raise ValueError("give `variant`, `policy`, or both")
        if self.version is not None and self.variant is None:
            raise ValueError("`version` goes with `variant`")
        if self.policy is not None and (self.policy.kind == "pinned") != (self.policy.variant is not None):
            raise ValueError("`policy.variant` goes with the kind 'pinned', and only with it")
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
        versions = dict(state.versions)
        if body.variant is not None and version is not None:
            versions[body.variant] = version
        policy = state.policy
        if body.policy is not None:
            policy = ActivePolicy(body.policy.kind, body.policy.variant)
        if policy.variant is not None and policy.variant not in versions:
            known = ", ".join(sorted(versions))
            raise UnknownVariant(f"variant {policy.variant[:100]!r} is not active; there are: {known}")
        if versions == state.versions and policy == state.policy:
            return state
        return State(versions, policy, origin)

    return _answer(model, parts.store.activate(model, change))


@router.post("/rollback", responses={**ADMIN_ERRORS, **error_examples(UnknownModel, Conflict)})
def roll_back(model: str, parts: Parts) -> ActiveState:
    """Let the state before the last change serve again."""
    parts.check_published(model)
    return _answer(model, parts.store.roll_back(model))


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
        policy=Policy.of(active.state.policy),
        can_roll_back=bool(active.history),
    )
