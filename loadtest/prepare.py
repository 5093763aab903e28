"""The model under test as plain files: a graph and the encoded catalog, taken out of a store, for peers and the truth.

Every server then ranks with the same graph and the same features; what differs is how it serves.
"""

import json
import shutil
from pathlib import Path

import numpy as np

MODEL = "movielens"


def prepare(store: Path, variant: str, folder: Path) -> Path:
    """Write graph and catalog of the active version of a variant into `folder`/<variant>; gives that folder.

    Raises SystemExit with what to do when the store does not have it.
    """
    active_file = store / MODEL / "active.json"
    if not active_file.exists():
        raise SystemExit(f"the store {store} has no {MODEL}: run `.venv/bin/slimrank compress {MODEL}` first")
    versions = json.loads(active_file.read_text())["state"]["versions"]
    if variant not in versions:
        raise SystemExit(f"variant {variant!r} of {MODEL} is not active; there are: {', '.join(versions)}")
    source = store / MODEL / variant / versions[variant]
    catalog = store / MODEL / "_catalog" / json.loads((source / "manifest.json").read_text())["catalog"]
    target = folder / variant
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copy(source / name, target / name)
    for side, names in (("item", "items.json"), ("user", "users.json")):
        arrays = {
            path.name.removeprefix(f"{side}.").removesuffix(".npy"): np.load(path, allow_pickle=False)
            for path in catalog.glob(f"{side}.*.npy")
        }
        np.savez(target / f"{side}.npz", **arrays)
        (target / f"{side}_ids.json").write_text(json.dumps(json.loads((catalog / names).read_text())["ids"]))
    (target / "origin.json").write_text(json.dumps({"store": str(store.resolve())}))
    return target
