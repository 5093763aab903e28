"""Refusals before a body is read: under overload nearly all of a worker's time would go into what it refuses.

Once a request was refused, the next ones are first judged by what can be told without reading them: the deadline and
the variant, which are looked for in the bytes, and about how many candidates so many bytes have been lately. Only what
the lowest rung could not answer in time is refused so; admission judges the rest. In doubt a request is read, and so is
every one for a model that has a feature of the name that is looked for: the name may stand for either then.
"""

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from app.errors import DeadlineExceeded, Overloaded, ServiceError
from app.model_card import AUTO
from app.serving.loaded import LoadedModel
from app.serving.waiting import ClientGone


class _Field(NamedTuple):
    """A field of the body: its name, the same as it stands there, and what may follow it."""

    name: str
    quoted: bytes
    value: re.Pattern[bytes]


_DEADLINE = _Field(
    "deadline_ms", b'"deadline_ms"', re.compile(rb"\s*:\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*[,}]")
)
_VARIANT = _Field("variant", b'"variant"', re.compile(rb'\s*:\s*"([A-Za-z0-9._-]{1,64})"\s*[,}]'))


class _Unclear(Exception):
    """What is looked for is there, but not as plainly as it must be to be believed."""


def check_unread(model: LoadedModel, body: bytes | bytearray, received: float, deadline_ms: float) -> None:
    """Raises Overloaded for a request that would be refused anyway; `deadline_ms` is of those that name none.

    `received` is when its bytes were read, on the clock of time.perf_counter().
    """
    admission, reader = model.engine.admission, model.any_reader
    if not admission.sheds(received) or not model.load.bytes_per_row or reader is None:
        return
    rows = min(max(1, round(len(body) / model.load.bytes_per_row)), reader.max_candidates)
    try:
        named = _found(model, body, _DEADLINE)
        deadline = received + (deadline_ms if named is None else float(named)) / 1e3
        found = _found(model, body, _VARIANT)
        asked = AUTO if found is None else found.decode()
        lane = model.variants[_cheapest(model, asked, rows)].lane
    except (_Unclear, KeyError, ServiceError):
        return  # it is read, and told what is wrong with it
    if admission.seconds_alone(lane, rows) > deadline - time.perf_counter():
        return
    try:
        admission.check_queue(lane, rows, deadline)
    except Overloaded:
        if asked == AUTO:
            canary = model.active.state.policy.canary  # whose users are not known before the body is read
            model.load.note_asked(rows, 1.0 if canary is None else 1.0 - canary.percent / 100)
        raise


def check_there(gone: Callable[[], bool]) -> None:
    """Raises ClientGone when the client has left."""
    if gone():
        raise ClientGone


def check_awaited(gone: Callable[[], bool], deadline: float) -> None:
    """Raises ClientGone or DeadlineExceeded for a request, read by now, that need not be gone on with."""
    check_there(gone)
    if time.perf_counter() >= deadline:
        raise DeadlineExceeded("the deadline passed while the request was encoded; nothing was computed")


def check_wanted(model: LoadedModel, body: bytes | bytearray, received: float, deadline_ms: float) -> None:
    """Raises DeadlineExceeded for a request that has waited to be read and need not be any more."""
    try:
        named = _found(model, body, _DEADLINE)
    except _Unclear:
        return
    allowed = deadline_ms if named is None else float(named)
    if not allowed:
        return  # no deadline may be 0: it is read, and told so
    if time.perf_counter() >= received + allowed / 1e3:
        raise DeadlineExceeded("the deadline passed before the body was read; nothing was computed")


def _cheapest(model: LoadedModel, asked: str, rows: int) -> str:
    """The variant that is asked for, or the last one that `auto` would step down to."""
    return model.ladder.rungs_of_auto(rows)[0][-1] if asked == AUTO else asked


def _found(model: LoadedModel, body: bytes | bytearray, field: _Field) -> bytes | None:
    """The value of a field that occurs once, or None where it does not."""
    at = body.find(field.quoted)
    if at < 0:
        return None
    found = field.value.match(body, at + len(field.quoted))
    reader = model.any_reader
    if found is None or body.find(field.quoted, found.end()) >= 0 or (reader and field.name in reader.names):
        raise _Unclear
    return found[1]
