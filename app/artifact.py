"""One artifact: an immutable folder, and the manifest that says what it is, where it is from and what it is worth.

    <version>/manifest.json       this file's Manifest
    <version>/model.onnx          a variant: the graph, with its weights in model.onnx.data beside it, and report.json
    <version>/model.items.onnx    where it can be cut: what the graph computes of an item alone, and the rest of it
    <version>/model.rest.onnx
    <version>/encoder.json ...    a catalog: see app/catalog.py

Nothing in an artifact is believed before `verify` has compared every file with its sha256.
"""

import hashlib
import re
import stat
from pathlib import Path
from typing import Any

import msgspec

from app.errors import ArtifactCorrupt
from app.report import Machine, Report, Verdict

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
GRAPH_FILE = "model.onnx"
GRAPH_DATA_FILE = "model.onnx.data"
ITEMS_GRAPH_FILE = "model.items.onnx"
REST_GRAPH_FILE = "model.rest.onnx"
GRAPH_FILES = (GRAPH_FILE, GRAPH_DATA_FILE, ITEMS_GRAPH_FILE, REST_GRAPH_FILE)
REPORT_FILE = "report.json"
# Artifacts are flat folders of plainly named files: no separator, no leading dot, so no way out of the folder.
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
VERSION = re.compile(r"[0-9a-f]{16}")
# What reading a damaged JSON file may raise: text that is not UTF-8 and endless nesting have errors of their own.
UNREADABLE = (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the artifact."""

    name: str
    sha256: str
    size_bytes: int


class TensorSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of the graph; a text in `shape` names a dimension that varies."""

    name: str
    dtype: str
    shape: list[int | str]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an artifact is. Everything but `version` and `created_unix_seconds` goes into the version's hash."""

    schema_version: int = SCHEMA_VERSION
    model: str
    variant: str
    version: str = ""
    """First 16 hex digits of the sha256 over the rest of the manifest, and with it over every file."""
    parent: str | None = None
    """`<variant>/<version>` that the recipe started from; None for a baseline and a catalog."""
    catalog: str | None = None
    """Version of the catalog that the variant's ids and features belong to; None for a catalog itself."""
    inputs_sha256: str
    """Fingerprint of everything the artifact was made from: equal inputs are not made again."""
    recipe: dict[str, Any] | None = None
    """The recipe with every step's full configuration; None for a baseline and a catalog."""
    seed: int = 0
    verdict: Verdict | None = None
    inputs: list[TensorSignature] = []
    outputs: list[TensorSignature] = []
    files: list[FileEntry] = []
    libraries: dict[str, str] = {}
    machine: Machine | None = None
    created_unix_seconds: float = 0.0

    @property
    def reference(self) -> str:
        """`<variant>/<version>`: how children name this artifact."""
        return f"{self.variant}/{self.version}"


def content_version(manifest: Manifest) -> str:
    """The version that the manifest's content demands."""
    bare = msgspec.structs.replace(manifest, version="", created_unix_seconds=0.0)
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:16]


def describe_files(folder: Path) -> list[FileEntry]:
    """Every file of the folder but the manifest, by name. Raises ArtifactCorrupt on what is not a plain file."""
    entries = []
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST_FILE:
            _check_plain_file(path)
            entries.append(FileEntry(path.name, file_sha256(path), path.stat().st_size))
    return entries


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest alone (cheap; files are compared by `verify`). Raises ArtifactCorrupt."""
    where = _name(folder)
    path = folder / MANIFEST_FILE
    try:
        if folder.is_symlink():  # it could lead out of the store, to files that others change
            raise ArtifactCorrupt(f"{where}: the folder is a link")
        _check_plain_file(path)
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactCorrupt(f"{where}: the manifest cannot be read ({reason})") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise ArtifactCorrupt(
            f"{where}: manifest schema {manifest.schema_version} is not {SCHEMA_VERSION}; compress again"
        )
    found = (manifest.model, manifest.variant, manifest.version)
    if found != (folder.parent.parent.name, folder.parent.name, folder.name):
        raise ArtifactCorrupt(f"{where}: the manifest is that of {'/'.join(found)}")
    if content_version(manifest) != manifest.version:
        raise ArtifactCorrupt(f"{where}: the manifest was changed after it was published")
    return manifest


def verify(folder: Path) -> Manifest:
    """Compare every file with the manifest, byte for byte by sha256. Raises ArtifactCorrupt naming what differs."""
    manifest = read_manifest(folder)
    try:
        _compare(folder, manifest)
    except OSError as error:
        raise ArtifactCorrupt(f"{_name(folder)}: its files cannot be read ({error.strerror})") from error
    return manifest


def read_report(folder: Path) -> Report:
    """The report of a variant's artifact. Raises ArtifactCorrupt."""
    try:
        return msgspec.json.decode((folder / REPORT_FILE).read_bytes(), type=Report)
    except UNREADABLE as error:
        raise ArtifactCorrupt(f"{_name(folder)}: the report cannot be read") from error


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare(folder: Path, manifest: Manifest) -> None:
    where = _name(folder)
    listed = {entry.name for entry in manifest.files}
    if bad := sorted(name for name in listed if not FILE_NAME.fullmatch(name) or name == MANIFEST_FILE):
        raise ArtifactCorrupt(
            f"{where}: the manifest lists file names that are not allowed: {', '.join(bad)}"
        )
    if stray := sorted({path.name for path in folder.iterdir()} - listed - {MANIFEST_FILE}):
        raise ArtifactCorrupt(f"{where}: files that the manifest does not list: {', '.join(stray)}")
    for entry in manifest.files:
        path = folder / entry.name
        _check_plain_file(path)
        if path.stat().st_size != entry.size_bytes or file_sha256(path) != entry.sha256:
            raise ArtifactCorrupt(f"{where}: {entry.name} is not what was published")


def _check_plain_file(path: Path) -> None:
    """A link could lead out of the folder, and a device could block: only plain files are read."""
    if not FILE_NAME.fullmatch(path.name):
        raise ArtifactCorrupt(
            f"{_name(path.parent)}: {path.name!r} is not a name that an artifact's file may have"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise ArtifactCorrupt(f"{_name(path.parent)}: {path.name} is missing") from None
    if not stat.S_ISREG(mode):
        raise ArtifactCorrupt(f"{_name(path.parent)}: {path.name} is not a plain file")


def _name(folder: Path) -> str:
    return "/".join(folder.parts[-3:])
