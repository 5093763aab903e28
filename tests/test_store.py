"""The artifact store: publish, find, verify, activate, roll back, collect."""

from pathlib import Path

import msgspec
import pytest
from app.active import Active, Policy, State
from app.artifact import GRAPH_FILE, MANIFEST_FILE, Manifest
from app.errors import ArtifactCorrupt, Conflict, StoreUnavailable, UnknownVersion
from app.store import ACTIVE_FILE, CATALOG, STAGING, ArtifactStore

from tests.samples import a_manifest, folder_of, publish


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def serve(store: ArtifactStore, *manifests: Manifest, origin: str = "a test") -> Active:
    """Let these versions serve, and no others."""
    versions = {one.variant: one.version for one in manifests}
    return store.activate("tiny", lambda state: State(versions, state.policy, origin))


def faults(store: ArtifactStore) -> dict[str, str]:
    return {what: fault.message for what, fault in store.verify() if fault is not None}


def backdate(store: ArtifactStore, *manifests: Manifest) -> None:
    """Let them be published one second after another, the last one last."""
    for second, manifest in enumerate(manifests):
        changed = msgspec.structs.replace(manifest, created_unix_seconds=float(second))
        (folder_of(store, manifest) / MANIFEST_FILE).write_bytes(msgspec.json.encode(changed))


def test_a_store_is_made_when_something_is_first_written(store: ArtifactStore) -> None:
    assert (store.models(), store.variants("tiny"), store.manifests("tiny", "baseline")) == ([], [], [])
    assert store.active("tiny") == Active()
    assert list(store.verify()) == []
    assert not store.root.exists()


def test_a_published_artifact_has_its_files_version_and_time(store: ArtifactStore) -> None:
    published = publish(store, a_manifest(catalog="0" * 16))
    assert folder_of(store, published) == store.root / "tiny" / "baseline" / published.version
    assert (folder_of(store, published) / GRAPH_FILE).read_bytes() == b"a graph"
    assert published.created_unix_seconds > 0
    given = msgspec.structs.replace(published, files=[], version="", created_unix_seconds=0.0)
    assert given == a_manifest(catalog="0" * 16)
    assert store.manifest("tiny", "baseline", published.version) == published
    assert list(store.verify()) == [(f"tiny/baseline/{published.version}", None)]


def test_publishing_the_same_again_gives_what_is_there(store: ArtifactStore) -> None:
    first = publish(store, a_manifest())
    before = (folder_of(store, first) / GRAPH_FILE).stat()
    assert publish(store, a_manifest()) == first
    assert (folder_of(store, first) / GRAPH_FILE).stat() == before
    assert publish(store, a_manifest(), b"another graph").version != first.version


@pytest.mark.parametrize("name", [GRAPH_FILE, MANIFEST_FILE])
def test_publishing_the_same_again_repairs_what_is_damaged(store: ArtifactStore, name: str) -> None:
    first = publish(store, a_manifest())
    (folder_of(store, first) / name).write_bytes(b"damaged")
    assert publish(store, a_manifest()).version == first.version
    assert faults(store) == {}
    assert list((store.root / STAGING).iterdir()) == []


def test_what_was_staged_and_not_published_is_gone(store: ArtifactStore) -> None:
    with store.staged() as folder:
        assert list(folder.iterdir()) == []
        (folder / GRAPH_FILE).write_bytes(b"half a gra")
    with pytest.raises(FileNotFoundError), store.staged() as folder:
        (folder / "folder" / GRAPH_FILE).write_bytes(b"a graph")
    assert list((store.root / STAGING).iterdir()) == []


def test_what_cannot_be_published_leaves_nothing(store: ArtifactStore) -> None:
    with store.staged() as folder:
        (folder / "link").symlink_to("/etc/passwd")
        with pytest.raises(ArtifactCorrupt, match="link is not a plain file"):
            store.publish(folder, a_manifest())
    assert store.variants("tiny") == []
    assert list(store.verify()) == []


def test_versions_are_listed_newest_first_and_found_by_their_inputs(store: ArtifactStore) -> None:
    published = [publish(store, a_manifest(inputs=inputs)) for inputs in "aba"]
    again = [publish(store, a_manifest(inputs=inputs), b"another") for inputs in "a"]
    backdate(store, published[0], published[1], *again)
    versions = [one.version for one in store.manifests("tiny", "baseline")]
    assert versions == [again[0].version, published[1].version, published[0].version]
    found = store.find("tiny", "baseline", "a")
    assert found is not None
    assert found.version == again[0].version
    assert store.find("tiny", "baseline", "c") is None
    assert store.find("tiny", "int8", "a") is None


def test_variants_are_listed_without_the_catalog(store: ArtifactStore) -> None:
    for variant in ("int8", "baseline", CATALOG):
        publish(store, a_manifest(variant))
    assert store.variants("tiny") == ["baseline", "int8"]
    assert store.models() == [], "nothing is active"


@pytest.mark.parametrize(
    "version", ["0" * 16, "", "..", "../baseline", "0" * 15 + "G", "0" * 17, "a/b", "\x00"]
)
def test_an_unknown_version(store: ArtifactStore, version: str) -> None:
    publish(store, a_manifest())
    with pytest.raises(UnknownVersion) as caught:
        store.manifest("tiny", "baseline", version)
    assert caught.value.details == {"variant": "baseline", "version": version}


def test_what_is_activated_serves_and_a_roll_back_undoes_it(store: ArtifactStore) -> None:
    first, second = publish(store, a_manifest()), publish(store, a_manifest(), b"another")
    assert serve(store, first, origin="1").revision == 1
    assert serve(store, second, origin="2").state.versions == {"baseline": second.version}
    assert ArtifactStore(store.root).active("tiny").revision == 2, "another process sees the same"
    assert store.models() == ["tiny"]
    back = store.roll_back("tiny")
    assert (back.revision, back.state.versions) == (3, {"baseline": first.version})
    assert store.active("tiny") == back
    with pytest.raises(Conflict):
        store.roll_back("tiny")
    assert store.active("tiny") == back


def test_activating_what_serves_already_writes_nothing(store: ArtifactStore) -> None:
    published = publish(store, a_manifest())
    before = serve(store, published)
    written = (store.root / "tiny" / ACTIVE_FILE).stat()
    assert serve(store, published) == before
    assert (store.root / "tiny" / ACTIVE_FILE).stat() == written


def test_only_versions_that_are_there_can_be_activated(store: ArtifactStore) -> None:
    before = serve(store, publish(store, a_manifest()))
    damaged = publish(store, a_manifest("int8"))
    (folder_of(store, damaged) / MANIFEST_FILE).write_bytes(b"{}")
    with pytest.raises(UnknownVersion):
        store.activate("tiny", lambda state: State({"baseline": "0" * 16}, state.policy))
    with pytest.raises(ArtifactCorrupt):
        serve(store, damaged)
    with pytest.raises(ZeroDivisionError):
        store.activate("tiny", lambda state: State({"baseline": str(1 // 0)}, state.policy))
    assert store.active("tiny") == before


def test_a_policy_can_be_changed_alone(store: ArtifactStore) -> None:
    published = publish(store, a_manifest())
    serve(store, published, origin="1")
    pinned = Policy("pinned", "baseline")
    active = store.activate("tiny", lambda state: State(state.versions, pinned, "2"))
    assert active.state == State({"baseline": published.version}, pinned, "2")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"revision": -0.5}', b'{"state": {"origin": "\xff"}}']
)
def test_a_damaged_active_state_is_named(store: ArtifactStore, content: bytes) -> None:
    serve(store, publish(store, a_manifest()))
    (store.root / "tiny" / ACTIVE_FILE).write_bytes(content)
    for call in (store.active, store.roll_back):
        with pytest.raises(ArtifactCorrupt, match=r"tiny/active\.json cannot be read"):
            call("tiny")
    assert "cannot be read" in faults(store)["tiny/active.json"]


@pytest.mark.parametrize(
    ("variant", "version"),
    [("baseline", "\0"), ("base\0line", "0" * 16), ("../..", "0" * 16), ("baseline", "../x"), ("", "")],
)
@pytest.mark.parametrize("where", ["state", "history"])
def test_a_state_with_names_that_are_no_folders_is_damaged(
    store: ArtifactStore, variant: str, version: str, where: str
) -> None:
    path = store.root / "tiny" / ACTIVE_FILE
    path.parent.mkdir(parents=True)
    state = {"versions": {variant: version}}
    path.write_bytes(msgspec.json.encode({where: state if where == "state" else [state]}))
    with pytest.raises(ArtifactCorrupt, match="is not a version of a variant"):
        store.active("tiny")


def test_verify_names_everything_that_is_damaged_and_nothing_else(store: ArtifactStore) -> None:
    whole = publish(store, a_manifest("int8"))
    changed, bare, gone = (publish(store, a_manifest(), content) for content in (b"a", b"b", b"c"))
    serve(store, gone, whole)
    (folder_of(store, changed) / GRAPH_FILE).write_bytes(b"x")
    (folder_of(store, bare) / MANIFEST_FILE).unlink()
    folder_of(store, gone).rename(store.root / "elsewhere")
    found = faults(store)
    assert set(found) == {f"tiny/{one.reference}" for one in (changed, bare)} | {"tiny/active.json"}
    assert "model.onnx is not what was published" in found[f"tiny/{changed.reference}"]
    assert "manifest.json is missing" in found[f"tiny/{bare.reference}"]
    assert f"has no version {gone.version!r}" in found["tiny/active.json"]


def test_verify_leaves_artifacts_in_the_making_alone(store: ArtifactStore) -> None:
    with store.staged() as folder:
        (folder / MANIFEST_FILE).write_bytes(b"half a manif")
        assert list(store.verify()) == []


def test_collect_keeps_the_newest_and_what_is_named(store: ArtifactStore) -> None:
    catalogs = [publish(store, a_manifest(CATALOG, inputs=str(number))) for number in range(5)]
    backdate(store, *catalogs)
    versions = [
        publish(store, a_manifest(inputs=str(number), catalog=catalogs[number].version))
        for number in range(4)
    ]
    backdate(store, *versions)
    int8 = publish(store, a_manifest("int8", catalog=catalogs[3].version))
    serve(store, versions[0], int8, origin="1")
    serve(store, versions[3], int8, origin="2")
    removed = store.collect("tiny", 1)
    # 0 may be rolled back to, and needs its catalog; catalog 4 is the newest.
    assert removed == [one.reference for one in (versions[2], versions[1], catalogs[2], catalogs[1])]
    assert not [one for one in removed if (store.root / "tiny" / one).exists()]
    kept = {
        f"tiny/{one.reference}" for one in (versions[0], versions[3], int8, *(catalogs[i] for i in (0, 3, 4)))
    }
    assert {what for what, _ in store.verify()} == kept | {"tiny/active.json"}
    assert faults(store) == {}
    assert store.roll_back("tiny").state.versions["baseline"] == versions[0].version
    assert store.collect("tiny", 1) == []
    assert list((store.root / STAGING).iterdir()) == []


def test_collect_counts_each_variant_by_itself(store: ArtifactStore) -> None:
    for variant in ("baseline", "int8"):
        for content in (b"a", b"b", b"c"):
            publish(store, a_manifest(variant), content)
    assert len(store.collect("tiny", 2)) == 2
    assert {name: len(store.manifests("tiny", name)) for name in store.variants("tiny")} == {
        "baseline": 2,
        "int8": 2,
    }


def test_a_graph_that_is_open_can_be_read_after_it_was_collected(store: ArtifactStore) -> None:
    first = publish(store, a_manifest(), b"first")
    backdate(store, first)
    publish(store, a_manifest(), b"second")
    with (folder_of(store, first) / GRAPH_FILE).open("rb") as file:
        assert store.collect("tiny", 1) == [first.reference]
        assert file.read() == b"first"


def test_what_the_file_system_refuses_is_said_without_its_paths(store: ArtifactStore) -> None:
    serve(store, publish(store, a_manifest()))
    publish(store, a_manifest("int8"))
    aside = store.root / "tiny" / "active.tmp"
    aside.mkdir()  # no file can be written there
    other = store.manifests("tiny", "int8")[0]
    with pytest.raises(StoreUnavailable, match=r"^the store cannot be written: Is a directory$"):
        serve(store, other)
    aside.rmdir()
    assert serve(store, other).state.versions == {"int8": other.version}


def test_an_active_state_that_is_no_file_is_damage(store: ArtifactStore) -> None:
    serve(store, publish(store, a_manifest()))
    path = store.root / "tiny" / ACTIVE_FILE
    path.unlink()
    path.mkdir()
    message = f"tiny/{ACTIVE_FILE} cannot be read: Is a directory; `slimrank rewrite tiny` writes it anew"
    with pytest.raises(ArtifactCorrupt, match=message):
        store.active("tiny")
    assert faults(store)[f"tiny/{ACTIVE_FILE}"] == message
