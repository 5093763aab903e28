"""Refusals before a body is read: under overload nearly all of a worker's time would go into what it refuses.

Once a request was refused, the next ones are first judged by what can be told without reading them: the deadline, which
is looked for in the bytes, and about how many candidates so many bytes have been lately. Only what even the fastest
variant could not answer in time is refused so; admission judges the rest. In doubt a request is read.
"""

import re
import time

from app.errors import Overloaded
from app.serving.loaded import LoadedModel

_NAME = b'"deadline_ms"'
_VALUE = re.compile(rb"\s*:\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*[,}]")


def check_unread(model: LoadedModel, body: bytes | bytearray, received: float, deadline_ms: float) -> None:
    """Raises Overloaded for a request that would be refused anyway; `deadline_ms` is of those that name none.

    `received` is when its bytes were read, on the clock of time.perf_counter().
    """
    admission = model.engine.admission
    if not admission.sheds(received) or not model.load.bytes_per_row:
        return
    asked_ms = _deadline_ms(body, deadline_ms)
    if asked_ms is None:
        return
    rows = max(1, round(len(body) / model.load.bytes_per_row))
    lane = min((one.lane for one in model.variants.values()), key=lambda lane: lane.cost.seconds(rows))
    left = received + asked_ms / 1e3 - time.perf_counter()
    if admission.seconds_alone(lane, rows) > left:
        return  # admission says what is wrong with it
    try:
        admission.check_queue(lane, rows, received + asked_ms / 1e3)
    except Overloaded:
        model.load.note(rows)
        raise


def _deadline_ms(body: bytes | bytearray, otherwise: float) -> float | None:
    """The deadline that a body names, or `otherwise`; None where that cannot be told without reading it."""
    at = body.find(_NAME)
    if at < 0:
        return otherwise
    found = _VALUE.match(body, at + len(_NAME))
    if found is None or body.find(_NAME, found.end()) >= 0:
        return None
    return float(found[1])
