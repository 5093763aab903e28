"""Which versions of a model serve, by which policy, and what served before: `<store>/<model>/active.json`."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from app.artifact import VERSION
from app.errors import Conflict
from app.model_card import VARIANT_NAME

_VARIANT = re.compile(VARIANT_NAME)
MAX_HISTORY = 10
MAX_BYTES = 4 * 1024 * 1024
"""Of `active.json`: many times what it takes, and no more than a worker can read at every look at the store."""
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant that answers this percentage of the users (0 to 100), always the same ones."""

    variant: str
    percent: Percent


class Shadow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant that also scores this percentage of the requests (0 to 100), to be compared and never answered."""

    variant: str
    percent: Percent


# What has its default is left out of active.json, so that an earlier release reads a state that needs nothing newer.
class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How `auto` chooses: `ladder` takes the best variant that can keep the deadline, `pinned` always `variant`.

    Either way a canary may answer its share instead, and a shadow may score its share as well.
    """

    kind: Literal["ladder", "pinned"] = "ladder"
    variant: str | None = None
    canary: Canary | None = None
    shadow: Shadow | None = None

    def variants(self) -> set[str]:
        """Every variant that is named."""
        canary, shadow = (one.variant if one else None for one in (self.canary, self.shadow))
        return {one for one in (self.variant, canary, shadow) if one is not None}

    def described(self) -> str:
        """The policy in a few words."""
        parts = [f"pinned to {self.variant}" if self.kind == "pinned" else "ladder"]
        parts += [f"canary {self.canary.variant} for {self.canary.percent:g}%"] if self.canary else []
        parts += [f"shadow {self.shadow.variant} for {self.shadow.percent:g}%"] if self.shadow else []
        return ", ".join(parts)


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What serves. `origin` says who set it: changes of one origin in a row count as one for a roll-back.

    `policy_set_by` is None in states from before it was noted: a policy of an admin's, unless it is the default.
    """

    versions: dict[str, str] = {}
    policy: Policy = Policy()
    origin: str = ""
    policy_set_by: Literal["card", "admin"] | None = None

    @property
    def follows_card(self) -> bool:
        """Whether the policy is that of the model card: no admin has set one."""
        if self.policy_set_by is None:
            return self.policy == Policy()
        return self.policy_set_by == "card"


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


def read_active_file(path: Path) -> Active:
    """What is in the place of `active.json`. Raises OSError, also for no plain file, and what `read_active` does.

    To open a pipe, or to read from one, may never end.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        return read_active(file.read(MAX_BYTES + 1))


def _open_at_once(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def read_active(content: bytes) -> Active:
    """What `active.json` holds. Raises msgspec.MsgspecError, UnicodeDecodeError, RecursionError.

    Names become paths: what could not be the name of a folder in the store is refused like any other damage. So is a
    state without versions, which is never written: `{}` must not take away what serves.
    """
    if len(content) > MAX_BYTES:
        raise msgspec.ValidationError(f"it has more than {MAX_BYTES:,} bytes")
    active = msgspec.json.decode(content, type=Active)
    for state in (active.state, *active.history):
        for variant, version in state.versions.items():
            if not (_VARIANT.fullmatch(variant) and VERSION.fullmatch(version)):
                raise msgspec.ValidationError(
                    f"{variant[:100]!r}: {version[:100]!r} is not a version of a variant"
                )
    if not all(state.versions for state in (active.state, *active.history)):
        raise msgspec.ValidationError("a state in it names no version of any variant")
    return active
