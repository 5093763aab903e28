"""A model in memory: its sessions and catalogs, and how they are loaded from the store.

A LoadedModel never changes. What becomes active makes a new one, which takes over the parts that stay; requests under
way keep the one they began with, and a session is freed when nobody refers to it any more.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.active import Active
from app.artifact import REPORT_FILE, read_manifest, read_report
from app.catalog import Catalog
from app.errors import ArtifactCorrupt, ServiceError
from app.schema import FeatureSchema
from app.serving.admission import Admission
from app.serving.batcher import Batcher
from app.serving.features import FeatureReader
from app.serving.ladder import Ladder, Level, Rung
from app.serving.lane import Lane
from app.serving.load import Load, Taken
from app.serving.shadow import Shadow
from app.serving.shadow_queue import ShadowQueue
from app.serving.verified import Verified
from app.serving.warm import warm_lane
from app.settings import Settings
from app.store import CATALOG, ArtifactStore

_LOG = logging.getLogger(__name__)

_ALIKE = 1.25
"""Versions of a variant whose sizes differ by no more than this factor are the same graph, trained again."""


@dataclass(frozen=True)
class LoadedVariant:
    """One version of a variant, ready to answer."""

    rung: Rung
    catalog_version: str
    reader: FeatureReader
    lane: Lane
    size_bytes: int
    """Of its graphs."""


@dataclass(frozen=True)
class Engine:
    """What all models of a worker share: the queue, and who is let into it."""

    batcher: Batcher
    admission: Admission
    shadows: ShadowQueue
    taken: Taken = field(default_factory=Taken)
    """What the requests of all models take of the worker's time."""


@dataclass(frozen=True)
class LoadedModel:
    """What of a model is active, and what of that is loaded."""

    name: str
    engine: Engine
    active: Active
    rungs: Mapping[str, Rung]
    """Active variants by name, loaded or not, as far as their manifests and reports can be read."""
    variants: Mapping[str, LoadedVariant]
    load: Load
    failures: Mapping[str, str] = field(default_factory=dict)
    """For a variant whose active version could not be loaded: why."""
    level: Level = field(default_factory=Level)
    ladder: Ladder = field(init=False)
    shadow: Shadow | None = field(init=False)
    """What is asked, after an answer, to compare it; None where the policy has no shadow."""

    def __post_init__(self) -> None:
        state = self.active.state
        object.__setattr__(self, "ladder", Ladder(state, self.rungs, self.variants, self.level))
        wanted = state.policy.shadow
        shadow = Shadow(self.name, wanted, self.variants, self.engine.shadows) if wanted else None
        object.__setattr__(self, "shadow", shadow)

    @property
    def schema(self) -> FeatureSchema | None:
        """The features of the model; None while nothing is loaded."""
        reader = self.any_reader
        return reader.schema if reader else None

    @property
    def any_reader(self) -> FeatureReader | None:
        """The baseline's reader where it is loaded, else another's."""
        if "baseline" in self.variants:
            return self.variants["baseline"].reader
        return next((one.reader for one in self.variants.values()), None)


def fault_of(error: Exception) -> str:
    """What is told of an error that nothing should raise; it may have a path in it, and is logged whole."""
    return f"a fault of the service while it was loaded ({type(error).__name__}); its log has the cause"


def _reason(error: Exception) -> str:
    """Why a version could not be loaded, without a path."""
    if isinstance(error, ServiceError):
        return str(error)
    return error.strerror or "unreadable" if isinstance(error, OSError) else fault_of(error)


class Loader:
    """Loads active versions, checked byte for byte before onnxruntime sees them. Slow: call it in a thread."""

    def __init__(self, store: ArtifactStore, settings: Settings, engine: Engine) -> None:
        self._store = store
        self._settings = settings
        self._engine = engine
        self._verified = Verified()

    def load(self, name: str, before: LoadedModel | None) -> LoadedModel:
        """The model as it is active now; parts that `before` has already are taken over.

        A variant whose new version cannot be loaded goes on with the version that is loaded, if there is one.
        Raises ArtifactCorrupt when the active state itself cannot be read.
        """
        active = self._store.active(name)
        rungs: dict[str, Rung] = {}
        variants: dict[str, LoadedVariant] = {}
        failures: dict[str, str] = {}
        old, told = (dict(before.variants), before.failures) if before else ({}, {})
        readers = {one.catalog_version: one.reader for one in old.values()}
        for variant, version in active.state.versions.items():
            try:
                if variant in old and old[variant].rung.version == version:
                    variants[variant] = old[variant]
                else:
                    variants[variant] = self._load_variant(
                        name, (variant, version), readers, old.get(variant)
                    )
                    readers[variants[variant].catalog_version] = variants[variant].reader
                rungs[variant] = variants[variant].rung
            except Exception as error:  # noqa: BLE001  (the other variants do not wait for this one)
                failures[variant] = reason = _reason(error)
                if not isinstance(error, ServiceError | OSError) and reason != told.get(variant):
                    _LOG.exception("%s/%s version %s: a fault of the service", name, variant, version)
                if variant in old:
                    variants[variant], rungs[variant] = old[variant], old[variant].rung
                elif rung := self._rung(name, variant, version):
                    rungs[variant] = rung
        if before:
            load, level = before.load, before.level
        else:
            load, level = Load(self._engine.taken), Level()
        return LoadedModel(name, self._engine, active, rungs, variants, load, failures, level)

    def _load_variant(
        self,
        model: str,
        which: tuple[str, str],
        readers: Mapping[str, FeatureReader],
        before: LoadedVariant | None,
    ) -> LoadedVariant:
        variant, version = which
        folder = self._store.folder(model, variant, version)
        manifest = self._verified.manifest(folder)
        if manifest.verdict is None or manifest.catalog is None:
            raise ArtifactCorrupt(f"{model}/{variant}/{version} is not a variant")
        reader = readers.get(manifest.catalog) or self._load_catalog(model, manifest.catalog)
        size_bytes = sum(file.size_bytes for file in manifest.files if file.name != REPORT_FILE)
        # What was found of another graph, under the same name, says nothing of this one.
        alike = before is not None and 1 / _ALIKE < size_bytes / max(before.size_bytes, 1) < _ALIKE
        lane = warm_lane(folder, reader, self._settings, before.lane if before and alike else None)
        rung = Rung(variant, version, manifest.verdict, read_report(folder))
        return LoadedVariant(rung, manifest.catalog, reader, lane, size_bytes)

    def _rung(self, model: str, variant: str, version: str) -> Rung | None:
        """What can be told of a version that cannot be loaded: the ladder must know what it does without."""
        folder = self._store.folder(model, variant, version)
        try:
            verdict = read_manifest(folder).verdict
            return Rung(variant, version, verdict, read_report(folder)) if verdict else None
        except ArtifactCorrupt:
            return None  # its failure is told already

    def _load_catalog(self, model: str, version: str) -> FeatureReader:
        folder = self._store.folder(model, CATALOG, version)
        self._verified.manifest(folder)
        return FeatureReader(Catalog.open(folder), self._settings.max_candidates)
