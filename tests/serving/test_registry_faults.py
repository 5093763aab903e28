"""Errors that nothing should raise, planted: they end nothing, keep nothing else back, and are told."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from app.active import Active
from app.jobs import QUEUE_FILE, JobQueue
from app.serving import loaded, registry
from app.serving.metrics import Metrics
from app.serving.registry import Registry
from app.store import ArtifactStore

from tests.processes import WAIT_SECONDS
from tests.serving.store_changes import Running, activate, play, publish_again, until
from tests.small_model import NAME, SmallModel


def test_a_fault_in_one_variant_keeps_no_other_back_and_is_not_repeated_at_once(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faulty, sound = publish_again(small, "baseline"), publish_again(small, "int8-static")
    tries, warm_lane = [], loaded.warm_lane

    def planted(folder: Path, *rest: Any) -> Any:
        if folder.name != faulty.version:
            return warm_lane(folder, *rest)
        tries.append(folder)
        raise MemoryError(f"no room for {folder}")

    now = 0.0

    async def scene(one: Running) -> None:
        nonlocal now
        monkeypatch.setattr(loaded, "warm_lane", planted)
        before, _ = await one.answer()
        monkeypatch.setattr(registry, "time", SimpleNamespace(monotonic=lambda: now))
        activate(small, faulty)
        activate(small, sound)
        for _ in range(3):
            await one.registry.refresh()
        assert len(tries) == 1, "again at once"
        assert ((await one.answer())[0], (await one.answer("int8-static"))[0]) == (before, sound.version)
        reason = "a fault of the service while it was loaded (MemoryError); its log has the cause"
        assert one.failures() == {"baseline": reason}
        now += 60.0
        await one.registry.refresh()
        assert len(tries) == 2
        assert caplog.text.count("MemoryError: no room for") == 1, "the same once more"
        monkeypatch.undo()
        now += 60.0
        monkeypatch.setattr(registry, "time", SimpleNamespace(monotonic=lambda: now))
        await one.registry.refresh()
        assert not one.failures()
        assert one.versions()["baseline"] == faulty.version

    play(small, scene, poll_seconds=60)


def test_a_fault_of_the_watch_or_of_the_metrics_ends_neither(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flushes = []

    def flush() -> None:
        flushes.append(1)
        _fault()

    async def scene(one: Running) -> None:
        with monkeypatch.context() as planted:
            planted.setattr(one.metrics, "measure_memory", _fault)
            planted.setattr(one.metrics, "flush", flush)
            await until(lambda: "the watch of the store: a fault" in caplog.text)
            await until(lambda: len(flushes) >= 3)
        assert caplog.text.count("metrics: a fault") == 1, "the same once more"
        new = publish_again(small, "baseline")
        activate(small, new)
        await until(lambda: one.versions()["baseline"] == new.version)
        one.metrics.of(NAME, "baseline").ended("ok", 1.0, None)
        await until(lambda: b'outcome="ok"' in one.metrics.exposition())

    play(small, scene, poll_seconds=0.01)


def _fault() -> None:
    raise ZeroDivisionError


def test_a_fault_while_looking_at_the_store_ends_neither_the_watch_nor_the_start(
    small: SmallModel, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(ArtifactStore):
        """Planted: what no reading of a store should raise."""

        faulty = True

        def active(self, model: str) -> Active:
            if self.faulty:
                raise ZeroDivisionError
            return super().active(model)

    async def scene() -> None:
        store = Faulty(small.store_folder)
        one = Registry(
            small.settings(poll_seconds=0.01), store, Metrics(JobQueue(small.store_folder / QUEUE_FILE))
        )
        await one.start()
        try:
            assert "a fault of the service" in one.models[NAME].failures[""]
            for _ in range(3):
                await one.refresh()
            assert caplog.text.count("Traceback") == 1, "the same once more"
            store.faulty = False
            await until(lambda: NAME not in one.missing())
            before = one.get(NAME).variants
            store.faulty = True
            await until(lambda: bool(one.get(NAME).failures))
            assert one.get(NAME).variants == before
            store.faulty = False
            await until(lambda: not one.get(NAME).failures)
        finally:
            await one.stop()

    asyncio.run(asyncio.wait_for(scene(), WAIT_SECONDS))
