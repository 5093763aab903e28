"""Slimrank itself: one worker, the variant named so that every side runs the same graph."""

import json
from pathlib import Path
from typing import Any

from loadtest.asks import Ask
from loadtest.prepare import SLIMRANK
from loadtest.servers import Server


def _body(ask: Ask, variant: str) -> dict[str, Any]:
    user = {"user_id": ask.user_id}
    return {"user": user, "candidates": list(ask.candidates), "k": ask.k, "variant": variant}


def _command(folder: Path, port: int) -> list[str]:
    place = json.loads((folder / "place.json").read_text())
    flags = ("--port", port, "--store", place["store"], "--models", place["models"])
    limits = ("--workers", 1, "--no-compressor", "--max-queue", 4096)
    return [str(SLIMRANK), "serve", *map(str, (*flags, *limits))]


SERVER = Server(
    name="slimrank",
    command=_command,
    path="/v1/models/{model}/rank",
    body=_body,
    note="one worker, one inference thread; the variant pinned by name",
)
