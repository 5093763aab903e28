"""Writers of one store: killed at any point, and several at once."""

import itertools
import multiprocessing
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from app.active import State
from app.errors import UnknownVersion
from app.store import STAGING, ArtifactStore

from tests.processes import PROGRAMS, WAIT_SECONDS
from tests.samples import a_manifest, folder_of, publish

PROCESSES = 4
ROUNDS = 8
KILLS = 20


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@contextmanager
def writer(store: ArtifactStore, *options: str) -> Iterator[subprocess.Popen[str]]:
    """tests/programs/store_writer.py in a process of its own; killed at the end."""
    command = [sys.executable, str(PROGRAMS / "store_writer.py"), str(store.root), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def must_be_whole(store: ArtifactStore) -> None:
    """Every artifact is whole, and a new writer sweeps what a dead one has left."""
    faults = [fault.message for _, fault in store.verify() if fault is not None]
    assert faults == []
    with store.staged() as folder:
        assert list((store.root / STAGING).iterdir()) == [folder.parent]


def test_a_writer_killed_before_any_of_its_operations_leaves_a_whole_store(store: ArtifactStore) -> None:
    with writer(store, "--die") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for operation in itertools.count(1):
            process.stdin.write(f"{operation}\n")
            process.stdin.flush()
            exit_code = int(process.stdout.readline())
            must_be_whole(store)
            if exit_code == 0:
                break
            assert exit_code == -9
            store.collect("tiny", 1)
    assert operation > 50, "a round has many operations"
    assert store.active("tiny").revision > 0


def test_a_writer_killed_at_a_random_moment_leaves_a_whole_store(store: ArtifactStore) -> None:
    moments = random.Random(5)
    revisions = [0]
    for _ in range(KILLS):
        with writer(store) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            time.sleep(moments.uniform(0.0, 0.08))
            process.kill()
            assert process.wait() == -9
        must_be_whole(store)
        revisions.append(store.active("tiny").revision)
        assert revisions[-1] >= max(1, revisions[-2]), "what was activated stays so"


def _publish_and_activate(root: Path, name: str) -> int:
    store = ArtifactStore(root)
    for number in range(ROUNDS):
        version = publish(store, a_manifest(f"{name}-{number}")).version
        publish(store, a_manifest("shared", inputs=str(number)))
        store.activate("tiny", _adding(f"{name}-{number}", version))
    return ROUNDS


def _adding(variant: str, version: str) -> Callable[[State], State]:
    return lambda state: State({**state.versions, variant: version}, state.policy, variant)


def test_writers_at_once_lose_nothing(store: ArtifactStore) -> None:
    names = [f"writer-{number}" for number in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_publish_and_activate, [store.root] * PROCESSES, names))
    active = store.active("tiny")
    assert set(active.state.versions) == {f"{name}-{number}" for name in names for number in range(ROUNDS)}
    assert active.revision == PROCESSES * ROUNDS
    assert len(store.manifests("tiny", "shared")) == ROUNDS
    must_be_whole(store)


def test_staging_folders_made_at_once_are_not_swept_away(store: ArtifactStore) -> None:
    def stage(number: int) -> bytes:
        with store.staged() as folder:
            (folder / "file").write_bytes(str(number).encode())
            return (folder / "file").read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stage, range(300))) == [str(number).encode() for number in range(300)]


def test_a_living_writer_is_not_swept_away(store: ArtifactStore) -> None:
    with store.staged() as first, ArtifactStore(store.root).staged() as second:
        (first / "file").write_bytes(b"still here")
        assert first != second
    assert list((store.root / STAGING).iterdir()) == []


def test_readers_beside_a_collector_see_all_of_a_version_or_nothing(store: ArtifactStore) -> None:
    reading = threading.Event()

    def write(_: int) -> None:
        for number in range(60):
            publish(store, a_manifest(inputs=str(number)), str(number).encode())
            store.collect("tiny", 1)
            assert reading.wait(WAIT_SECONDS), "nobody has read the first one"

    def read(_: int) -> int:
        seen = 0
        while not writing.done():
            for manifest in store.manifests("tiny", "baseline"):
                seen += 1
                reading.set()
                try:
                    assert store.manifest("tiny", "baseline", manifest.version) == manifest
                except UnknownVersion:
                    assert not folder_of(store, manifest).exists()
            assert [fault for _, fault in store.verify() if fault is not None] == []
        return seen

    with ThreadPoolExecutor(3) as pool:
        writing = pool.submit(write, 0)
        assert sum(pool.map(read, range(2))) > 0
        writing.result()
    (last,) = store.manifests("tiny", "baseline")
    assert msgspec.structs.replace(last, inputs_sha256="59") == last
