"""Whether a variant is up to date: the fingerprint of everything that it is made from.

Online code asks this without reading data or importing torch: the model's folder, the card, the code that compresses,
the libraries and the instruction sets decide. Data outside the model's folder count by the sizes of their files and the
times of the last changes.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from app.artifact import file_sha256
from app.machine import this_machine
from app.model_card import BASELINE, CARD_FILE, ModelCard, Recipe
from app.store import ArtifactStore

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy")
# What makes a variant and its catalog; encoding.py also decides what a served graph is given, and machine.py how many
# bits an int8 weight may use.
_CODE = ("training/**/*.py", "compression/**/*.py", "schema.py", "encoding.py", "catalog.py", "machine.py")


@dataclass(frozen=True)
class Inputs:
    """What all variants of a model are made from, as it was at one moment."""

    card: ModelCard
    files: Mapping[str, Any]
    """By name, the sha256 of each file of the model's folder, and facts of each data file outside it."""

    @classmethod
    def of(cls, card: ModelCard, folder: Path) -> "Inputs":
        """As it is now. Every file of the folder is read."""
        return cls(card, {**_files(folder), **_outside(card, folder)})

    def sha256(self, recipe: Recipe | None) -> str:
        """Fingerprint of what a variant (the baseline, without a recipe) is made from, as 64 hex digits."""
        card = self.card
        content = {
            "card": card.model_dump(
                mode="json", by_alias=True, exclude={"recipes", "title", "description", "training", "policy"}
            ),
            "recipe": recipe.model_dump(mode="json", exclude={"name", "description"}) if recipe else None,
            "files": self.files,
            "code": _code_sha256(),
            "libraries": library_versions(),
            "instruction_sets": this_machine().instruction_sets,
        }
        if recipe and any(step.get("teachers", 1) != 1 for step in recipe.steps):
            content["training"] = card.training  # further teachers are trained by it
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stale_variants(card: ModelCard, folder: Path, store: ArtifactStore) -> list[str]:
    """Names of the variants (the baseline included) without an active, up-to-date version; empty: nothing to do."""
    serves = store.active(card.name).state.versions
    inputs = Inputs.of(card, folder)
    wanted: list[tuple[str, Recipe | None]] = [(BASELINE, None)]
    wanted += [(recipe.name, recipe) for recipe in card.recipes]
    return [
        name
        for name, recipe in wanted
        if not _fresh(store, card.name, (name, serves.get(name)), inputs.sha256(recipe))
    ]


def library_versions() -> dict[str, str]:
    """The versions of the libraries that make a difference to a variant; those that are absent are left out."""
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the serving image has no torch: there, nothing is compressed
    return installed


def _fresh(store: ArtifactStore, model: str, variant: tuple[str, str | None], inputs_sha256: str) -> bool:
    """Whether a version of these inputs serves, or is newer than the one that does. `variant`: name and that version.

    A newer one was rolled back, or kept back by a job. An older one means that what it was made from is there again.
    """
    name, serves = variant
    versions = store.manifests(model, name) if serves else []  # newest first
    fits = next((at for at, one in enumerate(versions) if one.inputs_sha256 == inputs_sha256), None)
    at = next((at for at, one in enumerate(versions) if one.version == serves), None)
    return fits is not None and at is not None and fits <= at


def _files(folder: Path) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        documents = path.suffix == ".md" or path.name == CARD_FILE or "__pycache__" in path.parts
        if path.is_file() and not documents:
            files[str(path.relative_to(folder))] = file_sha256(path)
    return files


def _outside(card: ModelCard, folder: Path) -> dict[str, Any]:
    """Sizes and times of files that the data's configuration names, or that are in folders that it names."""
    found: dict[str, Any] = {}
    for value in (card.data.config if card.data else {}).values():
        # `os.path.exists` takes any text: one that cannot be a path is not there.
        if not isinstance(value, str) or not os.path.exists(folder / value):  # noqa: PTH110
            continue
        path = folder / value
        if path.resolve().is_relative_to(folder.resolve()):
            continue
        for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if one.is_file():
                facts = one.stat()
                found[f"{value}/{one.relative_to(path)}"] = [facts.st_size, facts.st_mtime_ns]
    return found


@cache
def _code_sha256() -> str:
    digest = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
