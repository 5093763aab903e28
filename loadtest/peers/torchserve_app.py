"""The TorchServe peer's handler; its worker imports it in TorchServe's own environment."""

import json
import os
from typing import Any

from loadtest.peers.ranker import Ranker

_RANKER = Ranker(os.environ["RANKER_FOLDER"])


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[dict[str, Any]]:  # noqa: ARG001
    """What TorchServe calls with a batch of requests, and once at its start with none."""
    return _RANKER.rank_many([_body(one) for one in data]) if data else []


def _body(one: dict[str, Any]) -> dict[str, Any]:
    body = one["body"]
    return json.loads(body) if isinstance(body, bytes | bytearray | str) else body
