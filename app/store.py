"""The artifact store: the one thing that compression writes and serving reads.

    <store>/<model>/<variant>/<version>/   an artifact, immutable once it is here
    <store>/<model>/_catalog/<version>/    the model's catalog, an artifact as well
    <store>/<model>/active.json            which versions serve; replaced by rename, never edited
    <store>/.staging/                      artifacts in the making

A version appears by one rename of a complete, synced folder, so a reader never sees half of one, and a writer may be
killed at any moment. What it leaves in the staging folder is swept by the next writer.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

import msgspec

from app.active import Active, State, read_active_file
from app.artifact import (
    MANIFEST_FILE,
    UNREADABLE,
    VERSION,
    Manifest,
    content_version,
    describe_files,
    read_manifest,
    verify,
)
from app.errors import ActiveCorrupt, ArtifactCorrupt, Conflict, StoreUnavailable, UnknownVersion
from app.file_lock import lock_soon
from app.scratch import scratch_folder

CATALOG = "_catalog"
ACTIVE_FILE = "active.json"
DAMAGED_FILE = "active.json.damaged"
STAGING, LOCK_FILE = ".staging", ".lock"


class ArtifactStore:
    """The store below `root`, which is made when something is first written.

    Model and variant names come from model cards, whose patterns allow no separators.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, model: str, variant: str, version: str) -> Path:
        """Where an artifact is, or would be."""
        return self.root / model / variant / version

    def models(self) -> list[str]:
        """Models that have an active state, damaged or not: a link that leads nowhere is damage, too."""
        return sorted(folder.name for folder in self.root.glob("*") if _is_there(folder / ACTIVE_FILE))

    def variants(self, model: str) -> list[str]:
        """Variants of the model with at least one published version."""
        return sorted({path.parent.parent.name for path in self._manifests(model, "*")} - {CATALOG})

    def versions(self, model: str, variant: str) -> list[str]:
        """Every published version of a variant, damaged or not."""
        return sorted(path.parent.name for path in self._manifests(model, variant))

    def manifests(self, model: str, variant: str) -> list[Manifest]:
        """The manifests of every published version of a variant, newest first.

        A damaged one is as good as none, so that it can be made again; `verify` names it.
        """
        found = []
        for path in self._manifests(model, variant):
            with suppress(ArtifactCorrupt):
                found.append(read_manifest(path.parent))
        return sorted(found, key=lambda one: (one.created_unix_seconds, one.version), reverse=True)

    def manifest(self, model: str, variant: str, version: str) -> Manifest:
        """The manifest of one version. Raises UnknownVersion, ArtifactCorrupt."""
        manifest = (
            _read_if_there(self.folder(model, variant, version)) if VERSION.fullmatch(version) else None
        )
        if manifest is None:
            raise UnknownVersion(
                f"variant {variant!r} of model {model!r} has no version {version!r}",
                variant=variant,
                version=version,
            )
        return manifest

    def find(self, model: str, variant: str, inputs_sha256: str) -> Manifest | None:
        """The newest published version made from exactly these inputs, if there is one."""
        return next(
            (one for one in self.manifests(model, variant) if one.inputs_sha256 == inputs_sha256), None
        )

    def verify(self) -> Iterator[tuple[str, ArtifactCorrupt | None]]:
        """Check every artifact and every active state; yields `model/variant/version` and what is wrong with it."""
        for folder in sorted(self.root.glob("[!.]*/*/*")):
            if folder.parent.name.startswith(ACTIVE_FILE):
                continue  # a folder in the place of the active state, or one that `rewrite` has kept
            fault = _fault(verify, folder)
            if fault is None or folder.exists():  # otherwise it has just been collected
                yield "/".join(folder.parts[-3:]), fault
        for model in self.models():
            yield f"{model}/{ACTIVE_FILE}", _fault(self._check_active, model)

    def active(self, model: str) -> Active:
        """The model's active state; an empty one before anything was activated. Raises ActiveCorrupt."""
        path = self.root / model / ACTIVE_FILE
        try:
            return read_active_file(path)
        except UNREADABLE as error:
            if isinstance(error, FileNotFoundError) and not path.is_symlink():
                return Active()
            reason = error.strerror if isinstance(error, OSError) else error
            raise ActiveCorrupt(
                f"{model}/{ACTIVE_FILE} cannot be read: {reason}; `slimrank rewrite {model}` writes it anew"
            ) from error

    def activate(self, model: str, change: Callable[[State], State]) -> Active:
        """Let `change` make the next state from the present one, check that its new versions exist, and let it serve.

        What serves already is not checked: damage to one variant must not stop the change that replaces it.
        """
        with self._writing(model):
            before = self.active(model)
            after = before.changed(change(before.state))
            for variant, version in after.state.versions.items():
                if before.state.versions.get(variant) != version:
                    self.manifest(model, variant, version)
            return self._replace_active(model, before, after)

    def roll_back(self, model: str) -> Active:
        """Let the state before the last change serve again. Raises Conflict when there is none."""
        with self._writing(model):
            before = self.active(model)
            return self._replace_active(model, before, before.rolled_back())

    def check_unreadable(self, model: str) -> None:
        """Raise Conflict where the active state can be read, so that there is no need to write it anew."""
        with suppress(ActiveCorrupt):
            if self.active(model).state.versions:
                raise Conflict(f"{model}/{ACTIVE_FILE} can be read: activate or roll back instead")

    def rewrite(self, model: str, state: State) -> Active:
        """Let `state` serve where the active state is damaged or gone; what is damaged is kept in DAMAGED_FILE.

        With one there already, in DAMAGED_FILE-2, and so on. Raises Conflict where it can be read.
        """
        with self._writing(model):
            self.check_unreadable(model)
            path = self.root / model / ACTIVE_FILE
            names = chain([DAMAGED_FILE], (f"{DAMAGED_FILE}-{number}" for number in count(2)))
            kept = next(one for one in map(path.with_name, names) if not _is_there(one))
            if path.is_dir():
                path.rename(kept)
            elif _is_there(path):  # it stays in its place meanwhile: without it, the model would be gone
                try:
                    kept.hardlink_to(path)
                except PermissionError:  # another user's file: the kernel lets it be moved, but not linked
                    path.rename(kept)
            return self._replace_active(model, Active(), Active().changed(state))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder for work in progress; it is gone afterwards, and swept later if this process dies."""
        staging = self.root / STAGING
        staging.mkdir(parents=True, exist_ok=True)
        with scratch_folder(staging) as folder:
            yield folder

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """An empty folder to build an artifact in, which lasts no longer than one of `scratch`."""
        with self.scratch() as holder:
            folder = holder / "artifact"
            folder.mkdir()
            yield folder

    def publish(self, folder: Path, manifest: Manifest) -> Manifest:
        """Move a staged folder to its place, whole and synced; gives the manifest with files and version filled in."""
        complete = msgspec.structs.replace(manifest, files=describe_files(folder))
        complete = msgspec.structs.replace(
            complete, version=content_version(complete), created_unix_seconds=round(time.time(), 3)
        )
        (folder / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(complete), indent=2))
        for path in folder.iterdir():
            _sync(path)
        _sync(folder)
        target = self.folder(complete.model, complete.variant, complete.version)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._writing(complete.model):
            if target.exists() and _fault(verify, target) is not None:
                self._remove(target)  # it is damaged, and its content is here again
            if not target.exists():
                folder.rename(target)
                _sync(target.parent)
        return read_manifest(target)

    def collect(self, model: str, keep: int) -> list[str]:
        """Remove all but the newest `keep` versions of each variant, and what no state and no variant needs any more.

        Versions that the active state or its history names stay. A process that still has a removed graph open is not
        disturbed: its mapping stays valid until it closes it. Gives `variant/version` of what was removed.
        """
        removed = []
        with self._writing(model):
            active = self.active(model)
            named = {
                (v, version)
                for state in (active.state, *active.history)
                for v, version in state.versions.items()
            }
            catalogs = set()
            for variant in self.variants(model):
                for position, one in enumerate(self.manifests(model, variant)):
                    if position < keep or (variant, one.version) in named:
                        catalogs.add(one.catalog)
                    else:
                        removed.append(one)
            removed += [one for one in self.manifests(model, CATALOG)[1:] if one.version not in catalogs]
            for one in removed:
                self._remove(self.folder(model, one.variant, one.version))
        return [one.reference for one in removed]

    def _manifests(self, model: str, variant: str) -> Iterator[Path]:
        return (self.root / model).glob(f"{variant}/*/{MANIFEST_FILE}")

    def _check_active(self, model: str) -> None:
        for variant, version in self.active(model).state.versions.items():
            try:
                self.manifest(model, variant, version)
            except UnknownVersion as error:
                raise ArtifactCorrupt(f"{model}/{ACTIVE_FILE}: {error.message}") from error

    def _replace_active(self, model: str, before: Active, after: Active) -> Active:
        if after != before:
            path = self.root / model / ACTIVE_FILE
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(after), indent=2))
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        return after

    def _remove(self, folder: Path) -> None:
        """Take the folder out of sight by a rename first: a reader sees all of an artifact or nothing of it."""
        with self.staged() as grave:
            folder.rename(grave)

    @contextmanager
    def _writing(self, model: str) -> Iterator[None]:
        """One writer of a model at a time, across processes; the kernel frees the lock of a process that dies.

        Raises StoreUnavailable for what the file system refuses meanwhile: a full disk, or a lock that others hold.
        """
        folder = self.root / model
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOCK_FILE).open("w") as lock:
                lock_soon(lock)
                yield
        except OSError as error:
            raise StoreUnavailable(f"the store cannot be written: {error.strerror}") from error


def _read_if_there(folder: Path) -> Manifest | None:
    """The manifest; None when there is no such version, or when it has just been collected."""
    try:
        return read_manifest(folder)
    except ArtifactCorrupt:
        with suppress(PermissionError):  # then something is there, which nobody here may read
            if not folder.exists():
                return None
        raise


def _is_there(path: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        return bool(path.lstat())
    return False


def _fault(check: Callable[[Any], object], subject: object) -> ArtifactCorrupt | None:
    try:
        check(subject)
    except ArtifactCorrupt as error:
        return error
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
