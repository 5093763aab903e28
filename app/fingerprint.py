"""Whether a variant is up to date: the fingerprint of everything that it is made from.

Online code asks this without reading data or importing torch: the model's folder, the card, the code that compresses,
the libraries and the instruction sets decide. A data file outside the model's folder counts by its size and the time
of its last change.
"""

import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from app.active import Active
from app.artifact import file_sha256
from app.machine import this_machine
from app.model_card import BASELINE, CARD_FILE, ModelCard, Recipe
from app.store import ArtifactStore

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy")
# What makes a variant and its catalog; encoding.py also decides what a served graph is given.
_CODE = ("training/**/*.py", "compression/**/*.py", "schema.py", "encoding.py", "catalog.py")


def inputs_sha256(card: ModelCard, folder: Path, recipe: Recipe | None) -> str:
    """Fingerprint of what a variant (the baseline, without a recipe) is made from, as 64 hex digits."""
    content = {
        "card": card.model_dump(
            mode="json", by_alias=True, exclude={"recipes", "title", "description", "training", "policy"}
        ),
        "recipe": recipe.model_dump(mode="json", exclude={"name", "description"}) if recipe else None,
        "files": _files(card, folder),
        "code": _code_sha256(),
        "libraries": library_versions(),
        "instruction_sets": this_machine().instruction_sets,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stale_variants(card: ModelCard, folder: Path, store: ArtifactStore) -> list[str]:
    """Names of the variants (the baseline included) without an active, up-to-date version; empty: nothing to do."""
    active = store.active(card.name)
    wanted: list[tuple[str, Recipe | None]] = [(BASELINE, None)]
    wanted += [(recipe.name, recipe) for recipe in card.recipes]
    return [name for name, recipe in wanted if not _fresh(card, folder, store, active, (name, recipe))]


def library_versions() -> dict[str, str]:
    """The versions of the libraries that make a difference to a variant; those that are absent are left out."""
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # the serving image has no torch: there, nothing is compressed
    return installed


def _fresh(
    card: ModelCard, folder: Path, store: ArtifactStore, active: Active, variant: tuple[str, Recipe | None]
) -> bool:
    name, recipe = variant
    if name not in active.state.versions:
        return False
    return store.find(card.name, name, inputs_sha256(card, folder, recipe)) is not None


def _files(card: ModelCard, folder: Path) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        documents = path.suffix == ".md" or path.name == CARD_FILE or "__pycache__" in path.parts
        if path.is_file() and not documents:
            files[str(path.relative_to(folder))] = file_sha256(path)
    for value in (card.data.config if card.data else {}).values():
        outside = Path(value) if isinstance(value, str) else None
        if outside and outside.is_absolute() and outside.is_file():
            facts = outside.stat()
            files[str(outside)] = [facts.st_size, facts.st_mtime_ns]
    return files


@cache
def _code_sha256() -> str:
    digest = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
