"""What is damaged in the store is never served: what was loaded before goes on, and the damage is told."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from app.errors import NotReady
from app.jobs import QUEUE_FILE, JobQueue
from app.serving import registry as registry_module
from app.serving.metrics import Metrics
from app.serving.registry import Registry
from app.store import ACTIVE_FILE, CATALOG, ArtifactStore

from tests.clocks import stand_still
from tests.descriptors import no_more_descriptors
from tests.processes import WAIT_SECONDS
from tests.serving.graphs import write_graph, write_no_graph
from tests.serving.store_changes import (
    Running,
    activate,
    active_version,
    damage,
    play,
    publish_again,
    publish_graph,
    until,
)
from tests.small_model import NAME, SmallModel

ALL = {"baseline", "int8-dynamic", "int8-static"}


def test_a_damaged_version_is_never_loaded_and_the_old_one_goes_on(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        before, new = await one.answer(), publish_again(small, "baseline")
        damage(small, new)
        activate(small, new)
        await one.registry.refresh()
        assert await one.answer() == before
        reason = f"{NAME}/baseline/{new.version}: model.onnx is not what was published"
        assert one.failures() == {"baseline": reason}
        assert one.registry.missing() == {}
        assert await one.answer("auto")

    play(small, scene)


def test_a_version_that_could_not_be_loaded_is_tried_again(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = stand_still(monkeypatch, registry_module)

    async def scene(one: Running) -> None:
        new = publish_again(small, "baseline")
        path = small.store.folder(NAME, "baseline", new.version) / "model.onnx"
        whole = damage(small, new)
        activate(small, new)
        await one.registry.refresh()
        first = one.registry.get(NAME)
        await one.registry.refresh()
        assert one.registry.get(NAME) is first, "not at once"
        path.write_bytes(whole)
        clock.now += 60.0
        await one.registry.refresh()
        assert not one.failures()
        assert one.versions()["baseline"] == new.version

    play(small, scene)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_no_graph, "onnxruntime cannot load the graph"),
        (lambda folder: write_graph(folder, read="cost"), "the graph does not fit its schema"),
        (lambda folder: write_graph(folder, give="points"), "the graph does not fit its schema"),
        (lambda folder: write_graph(folder, kind=7), "the graph does not run"),
        (lambda folder: write_graph(folder, shape=("rows", 3)), "the graph does not run"),
        (
            lambda folder: write_graph(folder, read="text", shape=("rows", 4)),
            "gives scores of the shape (1, 4)",
        ),
    ],
    ids=["no graph", "unknown input", "no score", "wrong type", "wrong rank", "wrong scores"],
)
def test_a_graph_that_does_not_fit_is_never_served(
    small: SmallModel, write: Callable[[Path], object], reason: str
) -> None:
    async def scene(one: Running) -> None:
        before = await one.answer()
        activate(small, publish_graph(small, "baseline", write))
        await one.registry.refresh()
        assert await one.answer() == before
        assert reason in one.failures()["baseline"]
        assert str(small.store_folder) not in one.failures()["baseline"]

    play(small, scene)


def test_a_service_starts_with_what_is_whole(small: SmallModel) -> None:
    damage(small, small.store.manifest(NAME, "baseline", active_version(small, "baseline")))

    async def scene(one: Running) -> None:
        assert one.versions().keys() == ALL - {"baseline"}
        assert one.registry.missing() == {NAME: "its baseline is not loaded"}
        assert one.failures().keys() == {"baseline"}
        assert (await one.answer("int8-static"))[1]

    play(small, scene)


def test_a_damaged_catalog_keeps_every_variant_out(small: SmallModel) -> None:
    (catalog,) = small.store.manifests(NAME, CATALOG)
    damage(small, catalog, "items.json")

    async def scene(one: Running) -> None:
        with pytest.raises(NotReady):
            one.registry.get(NAME)
        loaded = one.registry.models[NAME]
        assert loaded.failures.keys() == ALL
        assert {*loaded.failures.values()} == {
            f"{NAME}/{CATALOG}/{catalog.version}: items.json is not what was published"
        }

    play(small, scene)


def test_a_damaged_active_state_leaves_what_is_loaded(small: SmallModel) -> None:
    path = small.store_folder / NAME / ACTIVE_FILE

    async def scene(one: Running) -> None:
        before, content = await one.answer(), path.read_bytes()
        for bad in (b"", b"{", b"\xff", b'{"revision": "one"}', b"[" * 100_000):
            path.write_bytes(bad)
            await one.registry.refresh()
            assert await one.answer() == before
            assert "active.json cannot be read" in one.failures()[""]
        path.write_bytes(content)
        new = publish_again(small, "baseline")
        activate(small, new)
        await one.registry.refresh()
        assert one.failures() == {}
        assert (await one.answer())[0] == new.version

    play(small, scene)


def test_a_damaged_active_state_at_the_start_is_not_ready_and_heals(small: SmallModel) -> None:
    path = small.store_folder / NAME / ACTIVE_FILE
    content = path.read_bytes()
    path.write_bytes(b"{")

    async def scene(one: Running) -> None:
        with pytest.raises(NotReady):
            one.registry.get(NAME)
        assert "active.json cannot be read" in one.registry.models[NAME].failures[""]
        assert one.registry.missing() == {NAME: one.registry.models[NAME].failures[""]}
        path.write_bytes(content)
        await one.registry.refresh()
        assert one.versions().keys() == ALL

    play(small, scene)


def test_a_store_that_cannot_be_read_for_a_while_does_not_end_the_watch(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        before, path = await one.answer(), small.store_folder / NAME / ACTIVE_FILE
        content = path.read_bytes()
        path.unlink()
        path.mkdir()  # whose reading is an error of the file system
        await until(lambda: bool(one.failures()))
        assert await one.answer() == before
        path.rmdir()
        path.write_bytes(content)
        new = publish_again(small, "baseline")
        activate(small, new)
        await until(lambda: one.versions()["baseline"] == new.version)
        assert (await one.answer())[0] == new.version

    play(small, scene, poll_seconds=0.01)


def test_a_worker_without_descriptors_for_a_while_goes_on_watching(
    small: SmallModel, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(one: Running) -> None:
        with no_more_descriptors():
            await until(lambda: "Too many open files" in caplog.text)
        new = publish_again(small, "baseline")
        activate(small, new)
        await until(lambda: one.versions()["baseline"] == new.version)

    play(small, scene, poll_seconds=0.01)


def test_what_is_loaded_goes_on_while_the_store_is_away(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        before, away = await one.answer(), small.store_folder.with_name("away")
        small.store_folder.rename(away)
        small.store_folder.mkdir()  # a mount point without its disk
        await one.registry.refresh()
        await one.registry.refresh()
        assert await one.answer() == before
        assert one.registry.missing() == {}
        assert one.failures()[""].startswith("its active.json is gone from the store; ")
        assert f"`slimrank rewrite {NAME}` writes it anew" in one.failures()[""]
        small.store_folder.rmdir()
        away.rename(small.store_folder)
        while one.failures():
            await asyncio.sleep(0.05)
            await one.registry.refresh()
        assert await one.answer() == before

    play(small, scene)


def test_a_state_that_goes_after_the_store_was_listed_takes_nothing_away(small: SmallModel) -> None:
    path = small.store_folder / NAME / ACTIVE_FILE

    class Vanishing(ArtifactStore):
        """The file is removed between two looks at the store, as when its disk is unmounted in that moment."""

        vanishes = False

        def models(self) -> list[str]:
            found = super().models()
            if self.vanishes:
                path.unlink(missing_ok=True)
            return found

    async def scene() -> None:
        store = Vanishing(small.store_folder)
        registry = Registry(
            small.settings(poll_seconds=60), store, Metrics(JobQueue(small.store_folder / QUEUE_FILE))
        )
        await registry.start()
        try:
            before, store.vanishes = registry.get(NAME).variants, True
            for _ in range(2):
                await registry.refresh()
                assert registry.get(NAME).variants == before
                assert "slimrank rewrite" in registry.get(NAME).failures[""]
        finally:
            await registry.stop()

    asyncio.run(asyncio.wait_for(scene(), WAIT_SECONDS))
