"""The model under test as plain files: a graph and the encoded catalog, taken out of a store, for peers and the truth.

Every server then ranks with the same graph and the same features; what differs is how it serves. The benchmark's own
models are trained and compressed here when they are first needed, by the command line, as anybody would do it.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".cache" / "loadtest"
SLIMRANK = ROOT / ".venv" / "bin" / "slimrank"
BENCH, LADDER = "bench", "ladder"
_OWN_CARDS = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Place:
    """Where a model and its variants are."""

    model: str
    models: Path
    """The model repository."""
    store: Path


@dataclass(frozen=True)
class Prepared:
    """One variant of a model as plain files."""

    folder: Path
    variant: str
    place: Place


def place_of(model: str) -> Place:
    """One of the benchmark's own models in a store of their own, made first if need be; any other in the project's."""
    if not (_OWN_CARDS / model / "model.toml").is_file():
        return Place(model, ROOT / "models", ROOT / "store")
    place = Place(model, WORK / "models", WORK / "store")
    _make_own(place)
    return place


def prepare(place: Place, variant: str, work: Path = WORK) -> Prepared:
    """Write graph and catalog of the active version of a variant into a folder of its own below `work`.

    Raises SystemExit with what to do when the store does not have it.
    """
    active_file = place.store / place.model / "active.json"
    if not active_file.exists():
        raise SystemExit(
            f"the store has no {place.model}: run `.venv/bin/slimrank compress {place.model}` first"
        )
    versions = json.loads(active_file.read_text())["state"]["versions"]
    if variant not in versions:
        raise SystemExit(f"{place.model} has no active variant {variant!r}; there are: {', '.join(versions)}")
    source = place.store / place.model / variant / versions[variant]
    catalog = (
        place.store / place.model / "_catalog" / json.loads((source / "manifest.json").read_text())["catalog"]
    )
    target = work / "prepared" / place.model / variant
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in source.glob("model.onnx*"):
        shutil.copy(path, target / path.name)
    for side, names in (("item", "items.json"), ("user", "users.json")):
        arrays = {
            path.name.removeprefix(f"{side}.").removesuffix(".npy"): np.load(path, allow_pickle=False)
            for path in catalog.glob(f"{side}.*.npy")
        }
        np.savez(target / f"{side}.npz", **arrays)
        (target / f"{side}_ids.json").write_text(json.dumps(json.loads((catalog / names).read_text())["ids"]))
    # Our own server is started over the store that the graph was taken out of.
    where = {"store": str(place.store), "models": str(place.models)}
    (target / "place.json").write_text(json.dumps(where))
    return Prepared(target, variant, place)


def _make_own(place: Place) -> None:
    """Train once; then compress, which makes only what is not up to date."""
    model, folder = place.model, place.models / place.model
    card = _OWN_CARDS / model
    written = {path.name: path.read_text() for path in card.iterdir() if path.is_file()}
    old = {name: (folder / name).read_text() for name in written if (folder / name).exists()}
    if written != old or not (folder / "checkpoint.safetensors").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in written.items():
            (folder / name).write_text(text)
        run_slimrank("train", model, "--models", place.models)
    run_slimrank("compress", model, "--models", place.models, "--store", place.store)


def run_slimrank(*arguments: object) -> None:
    """The command line, to its end. Raises SystemExit with what it said when it fails."""
    command = [str(part) for part in (SLIMRANK, *arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"`{' '.join(command[1:])}` failed:\n{ran.stderr.strip()}")
