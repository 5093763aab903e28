"""A policy as it is written and as it serves; and the model card's, which counts until an admin sets another."""

import msgspec

from app import policy as written
from app.active import Policy, State
from app.errors import ArtifactCorrupt, UnknownVersion
from app.model_card import ModelCard
from app.store import ArtifactStore


def to_serve(policy: written.Policy) -> Policy:
    """The policy for an active state."""
    return msgspec.convert(policy.model_dump(), Policy)


def as_shown(policy: Policy) -> written.ShownPolicy:
    """The policy of an active state, unchecked: parts of a card's that are left out may leave what nobody may write."""
    canary, shadow = policy.canary, policy.shadow
    return written.ShownPolicy.model_construct(
        kind=policy.kind,
        variant=policy.variant,
        canary=written.Canary.model_construct(**msgspec.structs.asdict(canary)) if canary else None,
        shadow=written.Shadow.model_construct(**msgspec.structs.asdict(shadow)) if shadow else None,
    )


def with_card_policy(state: State, card: ModelCard, store: ArtifactStore) -> tuple[State, list[str]]:
    """The state with the card's policy, and a sentence for each part of that policy which cannot serve yet.

    A policy that an admin has set stays. Of the card's, what names a variant that is not active is left out until it
    is. So is what would let a rejected variant answer: a card is written before anything is measured, and the gate
    comes first.
    """
    if not state.follows_card:
        return state, []
    left_out = []
    changes: dict[str, object] = {}
    policy = to_serve(card.policy)
    for part, variant in (
        ("pinned", policy.variant),
        ("canary", policy.canary and policy.canary.variant),
        ("shadow", policy.shadow and policy.shadow.variant),
    ):
        reason = _hindrance(state, card.name, store, variant, answers=part != "shadow") if variant else None
        if reason is not None:
            changes |= {"kind": "ladder", "variant": None} if part == "pinned" else {part: None}
            left_out.append(f"the card's policy: {part} {variant!r} is left out: {reason}")
    policy = msgspec.structs.replace(policy, **changes)
    set_by = "card" if policy != Policy() else None
    return msgspec.structs.replace(state, policy=policy, policy_set_by=set_by), left_out


def _hindrance(state: State, model: str, store: ArtifactStore, variant: str, *, answers: bool) -> str | None:
    """Why a variant cannot do its part, if so."""
    if variant not in state.versions:
        return "it is not active yet"
    try:
        verdict = store.manifest(model, variant, state.versions[variant]).verdict
    except (ArtifactCorrupt, UnknownVersion) as error:
        return error.message
    return "it was rejected" if answers and verdict is not None and not verdict.may_serve else None
