"""One artifact: what its version stands for, and every way in which it can be tampered with."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from app.artifact import (
    GRAPH_DATA_FILE,
    GRAPH_FILE,
    MANIFEST_FILE,
    REPORT_FILE,
    SCHEMA_VERSION,
    FileEntry,
    Manifest,
    content_version,
    describe_files,
    file_sha256,
    read_manifest,
    read_report,
    verify,
)
from app.errors import ArtifactCorrupt
from app.report import Machine, Verdict
from app.store import ArtifactStore
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import a_manifest, folder_of, publish

Damage = Callable[[Path], object]
OTHERS: dict[str, Any] = {
    "parent": "baseline/0123456789abcdef",
    "catalog": "0123456789abcdef",
    "inputs_sha256": "1",
    "recipe": {"steps": []},
    "seed": 1,
    "verdict": {"outcome": "rejected", "reason": "because"},
    "inputs": [{"name": "x", "dtype": "int64", "shape": ["n", 3]}],
    "outputs": [{"name": "score", "dtype": "float32", "shape": ["n"]}],
    "libraries": {"numpy": "1"},
    "machine": {**msgspec.structs.asdict(Machine("a", [], 1, 1, "6", "1"))},
}
"""Another value for each field of the manifest that says what the artifact is."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published artifact."""
    store = ArtifactStore(tmp_path / "store")
    return folder_of(store, publish(store, a_manifest()))


def edit_manifest(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        content = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes())
        (folder / MANIFEST_FILE).write_bytes(msgspec.json.encode(content | changes))

    return damage


def list_file(name: str) -> Damage:
    """Let the manifest name another file, with a version that fits this content."""

    def damage(folder: Path) -> None:
        before = read_manifest(folder)
        entry = FileEntry(name, "0" * 64, 1)
        after = msgspec.structs.replace(before, files=[*before.files, entry])
        after = msgspec.structs.replace(after, version=content_version(after))
        (folder / MANIFEST_FILE).write_bytes(msgspec.json.encode(after))
        folder.rename(folder.with_name(after.version))

    return damage


def replace_by(make: Callable[[Path], object], name: str = GRAPH_FILE) -> Damage:
    """Put something else in the place of a file."""

    def damage(folder: Path) -> None:
        (folder / name).rename(folder.parent / "taken-away")
        make(folder / name)

    return damage


def link_folder(folder: Path) -> None:
    """Let the folder be a link to one outside, whose content is what was published."""
    folder.symlink_to(folder.rename(folder.parents[3] / folder.name))


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_an_untouched_artifact_is_verified(folder: Path) -> None:
    manifest = verify(folder)
    assert [entry.name for entry in manifest.files] == [GRAPH_FILE, GRAPH_DATA_FILE]
    assert manifest.files[0] == FileEntry(GRAPH_FILE, hashlib.sha256(b"a graph").hexdigest(), 7)
    assert manifest.reference == f"baseline/{folder.name}"
    assert read_manifest(folder) == manifest


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: flip_last_byte(folder / GRAPH_FILE), "model.onnx is not what was published"),
        (lambda folder: flip_last_byte(folder / GRAPH_DATA_FILE), "model.onnx.data is not what"),
        (lambda folder: (folder / GRAPH_FILE).write_bytes(b""), "model.onnx is not what was published"),
        (lambda folder: (folder / GRAPH_FILE).write_bytes(b"a graph."), "is not what was published"),
        (lambda folder: (folder / "extra.bin").write_bytes(b""), "does not list: extra.bin"),
        (lambda folder: (folder / ".hidden").write_bytes(b""), "does not list: .hidden"),
        (lambda folder: (folder / "folder").mkdir(), "does not list: folder"),
        (lambda folder: (folder / GRAPH_FILE).unlink(), "model.onnx is missing"),
        (replace_by(lambda path: path.symlink_to("../taken-away")), "model.onnx is not a plain file"),
        (replace_by(lambda path: path.symlink_to("nowhere")), "model.onnx is not a plain file"),
        (replace_by(os.mkfifo), "model.onnx is not a plain file"),
        (replace_by(Path.mkdir), "model.onnx is not a plain file"),
        (list_file("../taken-away"), r"names that are not allowed: \.\./taken-away"),
        (list_file(".."), r"names that are not allowed: \.\."),
        (list_file("/etc/passwd"), "names that are not allowed: /etc/passwd"),
        (list_file("sub/model.onnx"), "names that are not allowed: sub/model.onnx"),
        (list_file(".hidden"), "names that are not allowed: .hidden"),
        (list_file(""), "names that are not allowed: "),
        (list_file("a\n"), "names that are not allowed: a"),
        (list_file("a" * 201), "names that are not allowed: a"),
        (list_file(MANIFEST_FILE), f"names that are not allowed: {MANIFEST_FILE}"),
        (list_file("absent.bin"), "absent.bin is missing"),
    ],
)
def test_tampering_is_noticed(folder: Path, damage: Damage, words: str) -> None:
    damage(folder)
    # The manifest that names another file lies in a folder of another version.
    (present,) = folder.parent.glob("[0-9a-f]*")
    with pytest.raises(ArtifactCorrupt, match=words):
        verify(present)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (link_folder, "the folder is a link"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / MANIFEST_FILE).write_bytes(b""), "the manifest cannot be read"),
        (lambda folder: (folder / MANIFEST_FILE).write_bytes(b"{}"), "the manifest cannot be read"),
        (lambda folder: (folder / MANIFEST_FILE).write_bytes(b'{"\xff": 1}'), "the manifest cannot be read"),
        (lambda folder: (folder / MANIFEST_FILE).write_bytes(b'{"recipe":{"x":' + b"[" * 10**6), "be read"),
        (replace_by(lambda path: path.symlink_to("../taken-away"), MANIFEST_FILE), "not a plain file"),
        (replace_by(os.mkfifo, MANIFEST_FILE), "manifest.json is not a plain file"),
        (replace_by(Path.mkdir, MANIFEST_FILE), "manifest.json is not a plain file"),
        (edit_manifest(schema_version=SCHEMA_VERSION + 1), "manifest schema 2 is not 1; compress again"),
        (edit_manifest(unknown=1), "the manifest cannot be read"),
        (edit_manifest(files="none"), "the manifest cannot be read"),
        (edit_manifest(files=[]), "the manifest was changed after it was published"),
        (edit_manifest(version="0" * 16), "the manifest is that of tiny/baseline/0000000000000000"),
        (edit_manifest(model="other"), "the manifest is that of other/baseline/"),
        (edit_manifest(variant="int8"), "the manifest is that of tiny/int8/"),
        *(
            (edit_manifest(**{name: value}), "changed after it was published")
            for name, value in OTHERS.items()
        ),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(folder: Path, damage: Damage, words: str) -> None:
    damage(folder)
    for check in (read_manifest, verify):
        with pytest.raises(ArtifactCorrupt, match=words):
            check(folder)


@pytest.mark.parametrize("place", ["tiny/baseline/0123456789abcdef", "tiny/int8/{}", "other/baseline/{}"])
def test_an_artifact_in_the_wrong_place_is_refused(folder: Path, place: str) -> None:
    target = folder.parent.parent.parent / place.format(folder.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    with pytest.raises(ArtifactCorrupt, match=f"the manifest is that of tiny/baseline/{folder.name}"):
        verify(target)


def test_a_disk_that_cannot_be_read_is_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr("app.artifact.file_sha256", fails)
    with pytest.raises(ArtifactCorrupt, match=r"its files cannot be read \(Input/output error\)"):
        verify(folder)


def test_messages_name_the_artifact_and_no_path_of_the_machine(folder: Path) -> None:
    (folder / GRAPH_FILE).unlink()
    with pytest.raises(ArtifactCorrupt) as caught:
        verify(folder)
    assert caught.value.message == f"tiny/baseline/{folder.name}: model.onnx is missing"


@given(data=st.data())
def test_any_damage_to_any_file_is_found_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = ArtifactStore(tmp_path_factory.mktemp("store"))
    folder = folder_of(store, publish(store, a_manifest()))
    edit_manifest(created_unix_seconds=1.0)(folder)
    published = read_manifest(folder)
    path = folder / data.draw(st.sampled_from([MANIFEST_FILE, GRAPH_FILE, GRAPH_DATA_FILE]))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:at] + data.draw(st.binary(max_size=3)) + content[at + 1 :])
    if path.read_bytes() == content:
        return
    try:
        found = verify(folder)
    except ArtifactCorrupt:
        return
    # White space, or the one field that is outside the hash: everything else is what was published.
    assert path.name == MANIFEST_FILE
    assert msgspec.structs.replace(found, created_unix_seconds=published.created_unix_seconds) == published


def test_equal_content_has_an_equal_version_and_other_content_another() -> None:
    base = a_manifest()
    later = msgspec.structs.replace(base, version="0" * 16, created_unix_seconds=5.0)
    assert content_version(later) == content_version(base)
    changed = [msgspec.convert({**msgspec.to_builtins(base), k: v}, Manifest) for k, v in OTHERS.items()]
    assert len({content_version(one) for one in (base, *changed)}) == 1 + len(OTHERS)


def test_the_version_of_a_known_manifest_stays_the_same() -> None:
    manifest = Manifest(
        model="m",
        variant="v",
        inputs_sha256="0",
        verdict=Verdict("passed", "r"),
        libraries={"b": "1", "a": "2"},
    )
    assert content_version(manifest) == "fa0131073be9347b", "another version needs another SCHEMA_VERSION"


def test_files_are_described_by_name_without_the_manifest(tmp_path: Path) -> None:
    for name in ("b.bin", "a.bin", MANIFEST_FILE):
        (tmp_path / name).write_bytes(name.encode())
    assert describe_files(tmp_path) == [
        FileEntry(name, file_sha256(tmp_path / name), 5) for name in ("a.bin", "b.bin")
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: (folder / "sub").mkdir(), "sub is not a plain file"),
        (lambda folder: (folder / "link").symlink_to("/etc/passwd"), "link is not a plain file"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe is not a plain file"),
        (lambda folder: (folder / ".hidden").touch(), "'.hidden' is not a name"),
        (lambda folder: (folder / "with space").touch(), "'with space' is not a name"),
    ],
)
def test_what_is_not_a_plainly_named_file_cannot_be_published(
    tmp_path: Path, make: Damage, words: str
) -> None:
    make(tmp_path)
    with pytest.raises(ArtifactCorrupt, match=words):
        describe_files(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b'{"machine": {"processor": "\xff"}}'])
def test_a_report_that_cannot_be_read(folder: Path, content: bytes | None) -> None:
    if content is not None:
        (folder / REPORT_FILE).write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match=f"tiny/baseline/{folder.name}: the report cannot be read"):
        read_report(folder)
