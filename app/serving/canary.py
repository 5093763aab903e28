"""The canary: a variant that is tried out on some of the users.

Whether a user is in depends on the user, the model and the canary's name alone: every worker decides alike, before and
after a restart, and raising the percentage only lets more users in.
"""

from hashlib import blake2b
from itertools import islice
from typing import Any

from app.model_card import AUTO
from app.serving.ladder import Choice
from app.serving.loaded import LoadedModel
from app.serving.query import Query

_FIRST, _FEW = 24, 100
_HASH_BYTES = 8
_HASHES = 256.0**_HASH_BYTES


def with_canary(choice: Choice, model: LoadedModel, query: Query) -> Choice:
    """The canary for who is in, else what was chosen. A query that names its variant is never the canary's."""
    canary = model.active.state.policy.canary
    if canary is None or query.variant != AUTO or canary.percent == 0:
        return choice
    if canary.percent < 100 and place(model.name, canary.variant, _who(model, query)) >= canary.percent:
        return choice
    if canary.variant in model.variants:
        return Choice(canary.variant, is_open=False)
    return Choice(choice.variant, f"variant {canary.variant!r} is not loaded, so {choice.variant!r} answered")


def place(model: str, variant: str, who: bytes) -> float:
    """Where somebody stands on the way from 0 to 100 percent, evenly spread; who stands below a percentage is in."""
    # The names are in the hash so that the next canary does not begin with the same users again.
    named = f"{model}/{variant}/".encode()
    digest = blake2b(named + who, digest_size=_HASH_BYTES).digest()
    return 100.0 * (int.from_bytes(digest, "big") / _HASHES)


def _who(model: LoadedModel, query: Query) -> bytes:
    """The user's id; without one the request, so that the same one is treated alike: a short form of all it holds."""
    user_id = query.user.get(model.schema.user_key) if model.schema else None
    if isinstance(user_id, str) and user_id:
        return user_id.encode(errors="surrogatepass")
    return _short((query.user, query.context, query.candidates, query.exclude)).encode(errors="surrogatepass")


def _short(value: Any, deep: int = 3) -> str:
    """A value's size and the first of what it holds: to write out all of a large request would hold the event loop."""
    if isinstance(value, dict):
        keys = sorted(value) if len(value) <= _FEW else value
        inner = (
            f"{_short(key)}:{_short(value[key], deep - 1)}" for key in islice(keys, _FIRST if deep else 0)
        )
        return f"{len(value)}{{{','.join(inner)}}}"
    if isinstance(value, list | tuple):
        return (
            f"{len(value)}[{','.join(_short(one, deep - 1) for one in islice(value, _FIRST if deep else 0))}]"
        )
    if isinstance(value, str):
        return f"{len(value)}{value[:_FIRST]!r}"
    if value is None:
        return "null"
    return f"{hash(value)}"  # a number, of however many digits; the same in every process
