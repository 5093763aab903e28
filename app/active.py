"""Which versions of a model serve, by which policy, and what served before: `<store>/<model>/active.json`."""

from typing import Literal

import msgspec

from app.errors import Conflict

MAX_HISTORY = 10


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How `auto` chooses: `ladder` takes the cheapest variant that passed, `pinned` always takes `variant`."""

    kind: Literal["ladder", "pinned"] = "ladder"
    variant: str | None = None


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What serves. `origin` says who set it: changes of one origin in a row count as one for a roll-back."""

    versions: dict[str, str] = {}
    policy: Policy = Policy()
    origin: str = ""


class Active(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The present state, a number that grows with every change, and the states before, newest last."""

    revision: int = 0
    state: State = State()
    history: list[State] = []

    def changed(self, state: State) -> "Active":
        """The next Active, with `state` serving."""
        if state == self.state:
            return self
        same_origin = state.origin == self.state.origin
        kept = self.history if same_origin or not self.state.versions else [*self.history, self.state]
        return Active(self.revision + 1, state, kept[-MAX_HISTORY:])

    def rolled_back(self) -> "Active":
        """The next Active, with the state before the last change serving. Raises Conflict when there is none."""
        if not self.history:
            raise Conflict("there is no earlier state to roll back to")
        return Active(self.revision + 1, self.history[-1], self.history[:-1])
