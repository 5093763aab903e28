"""Small real things that several tests start from: a schema of every kind, its encoder, a catalog, an artifact."""

from pathlib import Path

import numpy as np
from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE, Manifest
from app.catalog import Catalog
from app.encoding import Encoder, Scale
from app.report import Verdict
from app.schema import FeatureSchema
from app.store import ArtifactStore

FEATURES = (
    {"name": "user_id", "side": "user", "kind": "categorical"},
    {"name": "history", "side": "user", "kind": "history", "of": "item_id", "max_length": 3},
    {"name": "device", "side": "context", "kind": "categorical", "encoding": "hash", "buckets": 10},
    {"name": "item_id", "side": "item", "kind": "categorical"},
    {"name": "genres", "side": "item", "kind": "multi", "max_length": 2, "separator": "|"},
    {"name": "tags", "side": "item", "kind": "multi", "max_length": 3, "encoding": "hash", "buckets": 5},
    {"name": "year", "side": "item", "kind": "number"},
    {"name": "views", "side": "item", "kind": "number", "transform": "log1p"},
    {"name": "ratio", "side": "item", "kind": "number", "transform": "none"},
    {"name": "image", "side": "item", "kind": "vector", "dimension": 2},
)
"""A feature of every kind, encoding and transform."""


def a_schema() -> FeatureSchema:
    return FeatureSchema.model_validate({"features": FEATURES})


def an_encoder() -> Encoder:
    vocabularies = {
        "user_id": ["u1", "u2"],
        "item_id": ["i1", "i2", "i3", "i4", "i5"],
        "genres": ["drama", "war"],
    }
    return Encoder(a_schema(), vocabularies, {"year": Scale(1990.0, 10.0), "views": Scale(1.0, 2.0)})


def a_catalog() -> Catalog:
    """Three items and two users; the second user has seen the first and the third item."""
    encoder = an_encoder()
    items = {
        "item_id": ["i1", "i2", "new"],
        "genres": ["war|drama", None, "war"],
        "tags": [["a"], [], ["b", "c"]],
        "year": [1990, 2000, None],
        "views": [0, 10, None],
        "ratio": [0.5, None, 1.0],
        "image": [[1.0, 2.0], None, [0.0, 0.0]],
    }
    users = {"user_id": ["u1", "u2"], "history": [[], ["i1", "new", "i2"]]}
    return Catalog(
        encoder=encoder,
        item_ids=items["item_id"],
        user_ids=users["user_id"],
        items={name: encoder.encode(name, values) for name, values in items.items()},
        users={name: encoder.encode(name, values) for name, values in users.items()},
        display={"title": ["One", "Two", "Three"], "year": [1990, 2000, None]},
        seen_offsets=np.array([0, 0, 2], dtype=np.int64),
        seen_items=np.array([0, 2], dtype=np.int32),
    )


def a_manifest(variant: str = "baseline", *, inputs: str = "0", catalog: str | None = None) -> Manifest:
    """What a writer of the model `tiny` gives to the store."""
    verdict = Verdict("baseline" if variant == "baseline" else "passed", "because")
    return Manifest(model="tiny", variant=variant, inputs_sha256=inputs, catalog=catalog, verdict=verdict)


def publish(store: ArtifactStore, manifest: Manifest, content: bytes = b"a graph") -> Manifest:
    """Publish an artifact of two files."""
    with store.staged() as folder:
        (folder / GRAPH_FILE).write_bytes(content)
        (folder / GRAPH_DATA_FILE).write_bytes(content[::-1])
        return store.publish(folder, manifest)


def folder_of(store: ArtifactStore, manifest: Manifest) -> Path:
    return store.folder(manifest.model, manifest.variant, manifest.version)
