"""Slimrank itself: one worker, the variant named so that every side runs the same graph."""

import json
from pathlib import Path
from typing import Any

from loadtest.asks import Ask
from loadtest.servers import ROOT, Server


def _body(ask: Ask, variant: str) -> dict[str, Any]:
    user = {"user_id": ask.user_id}
    return {"user": user, "candidates": list(ask.candidates), "k": ask.k, "variant": variant}


def _command(folder: Path, port: int) -> list[str]:
    # The store that the graph was taken out of, which prepare.py wrote down.
    store = json.loads((folder / "origin.json").read_text())["store"]
    flags = ("--port", port, "--store", store, "--workers", 1, "--no-compressor", "--max-queue", 4096)
    return [str(ROOT / ".venv" / "bin" / "slimrank"), "serve", *map(str, flags)]


SERVER = Server(
    name="slimrank",
    command=_command,
    path="/v1/models/movielens/rank",
    body=_body,
    note="one worker, one inference thread; the variant pinned by name",
)
