"""Slimrank itself: one worker, the variant named so that every side runs the same graph."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtest.asks import Ask
from loadtest.prepare import SLIMRANK
from loadtest.servers import Origin, Server


def _body(ask: Ask, variant: str) -> dict[str, Any]:
    user = {"user_id": ask.user_id}
    return {"user": user, "candidates": list(ask.candidates), "k": ask.k, "variant": variant}


def _command(folder: Path, port: int) -> list[str]:
    place = json.loads((folder / "place.json").read_text())
    flags = ("--port", port, "--store", place["store"], "--models", place["models"])
    limits = ("--workers", 1, "--no-compressor", "--max-queue", 4096)
    return [str(SLIMRANK), "serve", *map(str, (*flags, *limits))]


def _origin(answer: Any) -> Origin:
    return answer["variant"], answer["version"]


SERVER = Server(
    name="slimrank",
    command=_command,
    path="/v1/models/{model}/rank",
    body=_body,
    origin=_origin,
    note="one worker, one inference thread; the variant pinned by name",
)


def asking(server: Server, variant: str, deadline_ms: float | None = None) -> Server:
    """The same service, asked for that variant (`auto`: whatever it chooses), whichever was prepared."""
    more = {} if deadline_ms is None else {"deadline_ms": deadline_ms}

    def body(ask: Ask, _: str) -> dict[str, Any]:
        return {**_body(ask, variant), **more}

    return replace(server, body=body)
