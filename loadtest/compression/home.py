"""A model repository, a store and a cache, and the command line over them."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from loadtest.prepare import ROOT, SLIMRANK


@dataclass(frozen=True)
class Home:
    """Where the command line works; everything is asked of it, and read from its reports."""

    models: Path
    store: Path
    cache: Path

    @classmethod
    def below(cls, folder: Path, cache: Path | None = None) -> "Home":
        """All of it below one folder, but for a cache that holds data which have been fetched already."""
        return cls(folder / "models", folder / "store", cache or folder / "cache")

    def slimrank(self, *words: str) -> str:
        """What the command prints. Raises SystemExit with all of it when it fails."""
        places = {"models": self.models, "store": self.store, "cache": self.cache}
        environment = os.environ | {f"SLIMRANK_{name.upper()}": str(one) for name, one in places.items()}
        command = [str(SLIMRANK), *words]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"slimrank {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def reports(self, model: str) -> dict[str, dict[str, Any]]:
        """By variant: `manifest` and `report`, as `slimrank report --json` gives them."""
        found: dict[str, dict[str, Any]] = json.loads(self.slimrank("report", model, "--json"))
        return found

    def graph(self, model: str, variant: str, version: str) -> Path:
        """The graph of a published version."""
        return self.store / model / variant / version / "model.onnx"


def table_bytes(graph: Path, feature: str | None = None) -> int:
    """Bytes of a feature's embedding table, or of all; codes and codebooks and whatever else its place took."""
    part = "tables." if feature is None else f"tables.{feature}."
    model = onnx.load(graph, load_external_data=False)
    total = 0
    for one in model.graph.initializer:
        if part in one.name:
            numbers = 1
            for size in one.dims:
                numbers *= size
            total += numbers * onnx.helper.tensor_dtype_to_np_dtype(one.data_type).itemsize
    return total
