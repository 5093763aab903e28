"""What one compression lets serve: each variant as soon as it is made, unless an admin has decided otherwise."""

from app.active import State
from app.artifact import Manifest
from app.card_policy import with_card_policy
from app.compression.site import Selection
from app.errors import ArtifactCorrupt, UnknownVersion
from app.model_card import BASELINE, ModelCard
from app.store import ArtifactStore


class Activations:
    """The changes that one compression makes to what is active; a roll-back undoes all of them at once."""

    def __init__(self, card: ModelCard, store: ArtifactStore, selection: Selection) -> None:
        self._card = card
        self._store = store
        self._selection = selection
        self._baseline: Manifest | None = None
        self._left_out: list[str] = []
        self._told: list[str] = []

    def told(self) -> list[str]:
        """A sentence for each thing that does not serve although it was made, or no longer."""
        return [*self._told, *self._left_out]

    def activate(self, made: Manifest) -> None:
        """Let it serve. The baseline comes first."""
        if made.variant == BASELINE:
            self._baseline = made
        reason: str | None = None

        def with_it(state: State) -> State:
            nonlocal reason
            reason = self._hindrance(state, made)
            return state if reason else self._changed(state, {**state.versions, made.variant: made.version})

        self._store.activate(self._card.name, with_it)
        if reason is not None:
            self._told.append(f"{made.variant}: its new version is not active: {reason}")

    def retire(self) -> None:
        """Let variants that no recipe of the card makes serve no more, where they were compared with another baseline.

        What they keep of that one says nothing of this one. Only a run of the whole card does so.
        """
        if self._selection.recipes is not None or self._selection.recipe is not None:
            return
        gone: list[str] = []

        def without(state: State) -> State:
            gone[:] = self._left_behind(state)
            return self._changed(
                state, {name: one for name, one in state.versions.items() if name not in gone}
            )

        self._store.activate(self._card.name, without)
        self._told += [
            f"{name}: no longer active: no recipe makes it, and it was measured beside another baseline"
            for name in gone
        ]

    def _changed(self, state: State, versions: dict[str, str]) -> State:
        after = State(versions, state.policy, self._selection.origin, state.policy_set_by)
        after, self._left_out = with_card_policy(after, self._card, self._store)
        unchanged = after.versions == state.versions and after.policy == state.policy
        return state if unchanged else after

    def _hindrance(self, state: State, made: Manifest) -> str | None:
        """Why a new version must not take the place of what serves, if so."""
        name = made.variant
        if self._baseline is not None and name != BASELINE and not self._serves(state, self._baseline):
            return "another baseline than it was compared with has been activated since"
        canary = state.policy.canary
        answers = name in (state.policy.variant, canary.variant if canary else None)
        if not answers or state.follows_card or made.verdict is None or made.verdict.may_serve:
            return None
        before = self._read(name, state.versions.get(name, ""))
        if before is None or before.verdict is None or not before.verdict.may_serve:
            return None
        return "it was rejected, and an admin's policy lets this variant answer; the version before goes on"

    def _left_behind(self, state: State) -> list[str]:
        if self._baseline is None or not self._serves(state, self._baseline):
            return []
        kept = {BASELINE, *(recipe.name for recipe in self._card.recipes), *state.policy.variants()}
        found = []
        for name, version in state.versions.items():
            one = None if name in kept else self._read(name, version)
            if one is not None and one.parent != self._baseline.reference:
                found.append(name)
        return found

    def _serves(self, state: State, one: Manifest) -> bool:
        return state.versions.get(one.variant) == one.version

    def _read(self, variant: str, version: str) -> Manifest | None:
        """The manifest of a version, if it is there and whole."""
        try:
            return self._store.manifest(self._card.name, variant, version)
        except (UnknownVersion, ArtifactCorrupt):
            return None
