"""From a measured graph in a staged folder to a published artifact."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from app.artifact import REPORT_FILE, Manifest, TensorSignature
from app.catalog import Catalog
from app.compression.recipe import Step
from app.compression.scorer import Scorer
from app.fingerprint import library_versions
from app.machine import this_machine
from app.model_card import Recipe
from app.report import Report, Verdict
from app.store import CATALOG, ArtifactStore


@dataclass(frozen=True)
class Origin:
    """Where an artifact comes from."""

    model: str
    variant: str
    inputs_sha256: str
    catalog: str
    parent: str | None = None
    recipe: Recipe | None = None
    steps: tuple[Step, ...] = ()


def publish_catalog(store: ArtifactStore, model: str, inputs_sha256: str, catalog: Catalog) -> Manifest:
    """Publish the catalog; an equal one that is there already is used again."""
    with store.staged() as folder:
        catalog.write(folder)
        return store.publish(folder, Manifest(model=model, variant=CATALOG, inputs_sha256=inputs_sha256))


def publish_graph(
    store: ArtifactStore, folder: Path, origin: Origin, report: Report, verdict: Verdict
) -> Manifest:
    """Publish the graph in a staged `folder` with its report and everything that says where it is from."""
    (folder / REPORT_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    session = Scorer(folder).session
    manifest = Manifest(
        model=origin.model,
        variant=origin.variant,
        parent=origin.parent,
        catalog=origin.catalog,
        inputs_sha256=origin.inputs_sha256,
        recipe=_recipe_json(origin),
        seed=origin.recipe.seed if origin.recipe else 0,
        verdict=verdict,
        inputs=[TensorSignature(one.name, one.type, list(one.shape)) for one in session.get_inputs()],
        outputs=[TensorSignature(one.name, one.type, list(one.shape)) for one in session.get_outputs()],
        libraries=library_versions(),
        machine=this_machine(),
    )
    return store.publish(folder, manifest)


def _recipe_json(origin: Origin) -> dict[str, object] | None:
    if origin.recipe is None:
        return None
    return {
        "name": origin.recipe.name,
        "description": origin.recipe.description,
        "steps": [step.to_json() for step in origin.steps],
    }
