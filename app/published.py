"""What a model's variants are worth, as published: for the API's list of variants and for `slimrank report`."""

from dataclasses import dataclass

from app.active import Active
from app.artifact import Manifest, read_report
from app.errors import ActiveCorrupt, ArtifactCorrupt, StoreUnavailable, UnknownVersion
from app.model_card import BASELINE
from app.report import Report, Verdict
from app.store import ACTIVE_FILE, ArtifactStore


@dataclass(frozen=True)
class Published:
    """One version of a variant."""

    manifest: Manifest
    verdict: Verdict
    report: Report
    active: bool


@dataclass(frozen=True)
class Variants:
    """By name, the baseline first: what can be read, and why the rest cannot (sentences without paths).

    Where the active state itself cannot be read, `active` is None and its file's name stands among the unreadable.
    """

    readable: dict[str, Published]
    unreadable: dict[str, str]
    active: Active | None


def published_variants(store: ArtifactStore, model: str) -> Variants:
    """Every variant of a model that the store knows, by its active version, else by its newest.

    One damaged variant must not hide the others, nor a damaged active state all of them. Raises StoreUnavailable for a
    store that this process may not read.
    """
    try:
        return _published_variants(store, model)
    except OSError as error:
        raise StoreUnavailable(f"the store cannot be read: {error.strerror}") from error


def _published_variants(store: ArtifactStore, model: str) -> Variants:
    unreadable: dict[str, str] = {}
    state: Active | None = None
    try:
        state = store.active(model)
    except ActiveCorrupt as error:
        unreadable[ACTIVE_FILE] = error.message
    found = Variants({}, unreadable, state)
    active = state.state.versions if state else {}
    # An active variant whose folder is gone is known from the active state alone.
    for name in sorted({*store.variants(model), *active}, key=lambda one: (one != BASELINE, one)):
        version = active.get(name) or _newest(store, model, name)
        if version is None:
            continue  # it has been collected since the folder was listed
        try:
            found.readable[name] = _read(store, model, (name, version), active=name in active)
        except UnknownVersion:
            if name in active:
                found.unreadable[name] = f"{model}/{name}/{version} is active, but not in the store"
        except ArtifactCorrupt as error:
            found.unreadable[name] = error.message
    return found


def _newest(store: ArtifactStore, model: str, variant: str) -> str | None:
    """The newest version that can be read; where none can, one that tells why."""
    readable = (one.version for one in store.manifests(model, variant))
    return next(readable, None) or next(iter(store.versions(model, variant)), None)


def _read(store: ArtifactStore, model: str, which: tuple[str, str], *, active: bool) -> Published:
    manifest = store.manifest(model, *which)
    if manifest.verdict is None:
        raise ArtifactCorrupt(f"{model}/{manifest.reference} is not a variant: it has no verdict")
    report = read_report(store.folder(model, *which))
    return Published(manifest, manifest.verdict, report, active)
