"""A new active state in place of one that is damaged or gone."""

import errno
import os
from pathlib import Path

import msgspec
import pytest
from app.active import MAX_BYTES, State
from app.artifact import GRAPH_FILE, MANIFEST_FILE
from app.errors import ActiveCorrupt, ArtifactCorrupt, Conflict, UnknownModel
from app.model_card import ModelCard
from app.policy import Policy
from app.rewrite import rewrite_active
from app.store import ACTIVE_FILE, CATALOG, DAMAGED_FILE, ArtifactStore

from tests.samples import a_manifest, folder_of, publish


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def serve(store: ArtifactStore, **versions: str) -> Path:
    """Let these versions serve; gives the file that says so."""
    store.activate("tiny", lambda state: State(versions, state.policy, "a test"))
    return store.root / "tiny" / ACTIVE_FILE


def test_what_is_whole_serves_and_the_damaged_file_is_kept(store: ArtifactStore) -> None:
    catalog = publish(store, a_manifest(CATALOG))
    baseline = publish(store, a_manifest(catalog=catalog.version))
    int8 = publish(store, a_manifest("int8", catalog=catalog.version))
    path = serve(store, baseline=baseline.version, int8=int8.version)
    for content, kept in ((b"{", ""), (b"[]", "-2"), (b"{}", "-3"), (b" " * (MAX_BYTES + 1), "-4")):
        path.write_bytes(content)
        active, left_out = rewrite_active(store, "tiny", None)
        assert active == store.active("tiny")
        assert active.state.versions == {"baseline": baseline.version, "int8": int8.version}
        assert (active.state.follows_card, active.history, left_out) == (True, [], [])
        assert path.with_name(DAMAGED_FILE + kept).read_bytes() == content
    assert path.with_name(DAMAGED_FILE).read_bytes() == b"{", "nothing that was kept is replaced"
    assert dict(store.verify())["tiny/active.json"] is None


def test_a_file_that_is_gone_is_written_as_well(store: ArtifactStore) -> None:
    baseline = publish(store, a_manifest())
    serve(store, baseline=baseline.version).unlink()
    assert store.models() == []
    assert rewrite_active(store, "tiny", None)[0].state.versions == {"baseline": baseline.version}
    assert store.models() == ["tiny"]
    assert not (store.root / "tiny" / DAMAGED_FILE).exists()


def test_a_folder_in_its_place_is_moved_aside(store: ArtifactStore) -> None:
    baseline = publish(store, a_manifest())
    path = serve(store, baseline=baseline.version)
    path.unlink()
    path.mkdir()
    (path / "note").write_bytes(b"x")
    assert rewrite_active(store, "tiny", None)[0].state.versions == {"baseline": baseline.version}
    assert path.is_file()
    assert path.with_name(DAMAGED_FILE).is_dir()
    assert [fault for _, fault in store.verify() if fault] == [], "it is no variant"
    path.write_bytes(b"")
    rewrite_active(store, "tiny", None)
    assert path.with_name(f"{DAMAGED_FILE}-2").read_bytes() == b""


def test_a_link_that_leads_nowhere_is_damage_and_kept(store: ArtifactStore) -> None:
    baseline = publish(store, a_manifest())
    path = serve(store, baseline=baseline.version)
    for target in (path.with_name("nowhere"), path):
        path.unlink()
        path.symlink_to(target)
        assert store.models() == ["tiny"]
        with pytest.raises(ActiveCorrupt):
            store.active("tiny")
        assert rewrite_active(store, "tiny", None)[0].state.versions == {"baseline": baseline.version}
        assert not path.is_symlink()
    assert path.with_name(DAMAGED_FILE).is_symlink()


def test_a_pipe_in_its_place_is_damage_that_blocks_nobody(store: ArtifactStore) -> None:
    baseline = publish(store, a_manifest())
    path = serve(store, baseline=baseline.version)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ActiveCorrupt, match="cannot be read: it is not a plain file"):
        store.active("tiny")
    assert [fault for _, fault in store.verify() if fault is not None]
    assert rewrite_active(store, "tiny", None)[0].state.versions == {"baseline": baseline.version}
    assert path.is_file()
    assert path.with_name(DAMAGED_FILE).is_fifo()


def test_a_file_of_another_user_is_moved_aside(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = publish(store, a_manifest())
    path = serve(store, baseline=baseline.version)
    path.write_bytes(b"{")

    def refuse(link: Path, target: Path) -> None:
        """Planted: what the kernel says with `fs.protected_hardlinks`, which needs a second user."""
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert rewrite_active(store, "tiny", None)[0].state.versions == {"baseline": baseline.version}
    assert path.with_name(DAMAGED_FILE).read_bytes() == b"{"


def test_a_state_that_can_be_read_is_left_alone(store: ArtifactStore) -> None:
    path = serve(store, baseline=publish(store, a_manifest()).version)
    before = path.read_bytes()
    with pytest.raises(Conflict, match="can be read"):
        rewrite_active(store, "tiny", None)
    with pytest.raises(Conflict, match="can be read"):
        store.rewrite("tiny", State({"baseline": "0" * 16}))
    assert path.read_bytes() == before


def test_what_is_damaged_is_left_out_and_an_older_version_serves(store: ArtifactStore) -> None:
    catalog, lost = (publish(store, a_manifest(CATALOG, inputs=str(one))) for one in range(2))
    old = publish(store, a_manifest(catalog=catalog.version))
    cut = publish(store, a_manifest(inputs="1", catalog=catalog.version))
    without = publish(store, a_manifest(inputs="2", catalog=lost.version))
    bad = publish(store, a_manifest("int8", catalog=catalog.version))
    path = serve(store, baseline=cut.version, int8=bad.version)
    for second, one in enumerate((old, cut, without)):
        backdated = msgspec.structs.replace(one, created_unix_seconds=float(second))
        (folder_of(store, one) / MANIFEST_FILE).write_bytes(msgspec.json.encode(backdated))
    for one in (cut, lost, bad):
        (folder_of(store, one) / GRAPH_FILE).write_bytes(b"x")
    path.write_bytes(b"")
    active, left_out = rewrite_active(store, "tiny", None)
    assert active.state.versions == {"baseline": old.version}
    assert [one.partition(":")[0] for one in left_out] == [
        f"tiny/{lost.reference}",
        f"tiny/{cut.reference}",
        f"tiny/{bad.reference}",
    ]


def test_the_cards_policy_counts_as_far_as_it_can_serve(store: ArtifactStore) -> None:
    serve(store, baseline=publish(store, a_manifest()).version).write_bytes(b"")
    policy = Policy.model_validate(
        {"kind": "pinned", "variant": "baseline", "canary": {"variant": "int8", "percent": 5}}
    )
    card = ModelCard.model_construct(name="tiny", policy=policy)
    active, left_out = rewrite_active(store, "tiny", card)
    assert active.state.policy.described() == "pinned to baseline"
    assert active.state.follows_card
    assert left_out == ["the card's policy: canary 'int8' is left out: it is not active yet"]


def test_there_must_be_something_to_activate(store: ArtifactStore) -> None:
    for name in ("tiny", "../store", "", ".staging"):
        with pytest.raises(UnknownModel):
            rewrite_active(store, name, None)
    only = publish(store, a_manifest())
    (folder_of(store, only) / GRAPH_FILE).write_bytes(b"x")
    with pytest.raises(
        ArtifactCorrupt, match=r"no version of model 'tiny' is whole: .*not what was published"
    ):
        rewrite_active(store, "tiny", None)
    assert store.models() == []
