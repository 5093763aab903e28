"""What happens to a store under a running registry: new versions, damaged ones, a registry that looks when told to."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from app.active import State
from app.artifact import REPORT_FILE, Manifest
from app.jobs import QUEUE_FILE, JobQueue
from app.serving.metrics import Metrics
from app.serving.query import Query
from app.serving.registry import Registry
from app.store import CATALOG

from tests.processes import WAIT_SECONDS
from tests.serving.asking import rank
from tests.small_model import NAME, SmallModel

NEVER = 3600.0


def active_version(small: SmallModel, variant: str) -> str:
    return small.store.active(NAME).state.versions[variant]


def publish_again(small: SmallModel, variant: str, seed: int = 1) -> Manifest:
    """Another version of a variant: the same files, made with another seed."""
    store = small.store
    old = store.manifest(NAME, variant, active_version(small, variant))
    with store.staged() as folder:
        for entry in old.files:
            shutil.copy(store.folder(NAME, variant, old.version) / entry.name, folder)
        return store.publish(folder, msgspec.structs.replace(old, seed=seed, version=""))


def publish_as(small: SmallModel, name: str) -> None:
    """Another model: the baseline of this one and its catalog, active under another name."""
    store = small.store

    def published(old: Manifest, catalog: str | None) -> str:
        with store.staged() as folder:
            for entry in old.files:
                shutil.copy(store.folder(NAME, old.variant, old.version) / entry.name, folder)
            changed = msgspec.structs.replace(old, model=name, version="", catalog=catalog)
            return store.publish(folder, changed).version

    baseline = store.manifest(NAME, "baseline", active_version(small, "baseline"))
    assert baseline.catalog is not None
    catalog = published(store.manifest(NAME, CATALOG, baseline.catalog), None)
    version = published(baseline, catalog)
    store.activate(name, lambda _: State({"baseline": version}))


def publish_graph(small: SmallModel, variant: str, write: Callable[[Path], object]) -> Manifest:
    """A version of a variant whose graph is whatever `write` puts into the folder."""
    store = small.store
    old = store.manifest(NAME, variant, active_version(small, variant))
    with store.staged() as folder:
        shutil.copy(store.folder(NAME, variant, old.version) / REPORT_FILE, folder)
        write(folder)
        return store.publish(folder, msgspec.structs.replace(old, version=""))


def activate(small: SmallModel, *manifests: Manifest) -> None:
    versions = {one.variant: one.version for one in manifests}
    small.store.activate(NAME, lambda state: State(state.versions | versions, state.policy, "a test"))


def damage(small: SmallModel, manifest: Manifest, name: str = "model.onnx") -> bytes:
    """Change a file after it was published; gives what it was."""
    path = small.store.folder(NAME, manifest.variant, manifest.version) / name
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    return before


@dataclass(frozen=True)
class Running:
    """A registry that has started, and its metrics."""

    registry: Registry
    metrics: Metrics

    def versions(self) -> dict[str, str]:
        """The version of each loaded variant."""
        return {name: one.rung.version for name, one in self.registry.get(NAME).variants.items()}

    def failures(self) -> dict[str, str]:
        return dict(self.registry.get(NAME).failures)

    async def answer(self, variant: str = "baseline") -> tuple[str, list[float]]:
        """Who answers a request, and the scores."""
        ranking = await rank(self.registry.get(NAME), Query({}, {}, ["i1", "i2"], variant=variant))
        return ranking.version, [item.score for item in ranking.items]


@asynccontextmanager
async def running(small: SmallModel, **settings: Any) -> AsyncIterator[Running]:
    """A registry over the small model's store; it looks for changes when `refresh` is called."""
    settings = {"poll_seconds": NEVER} | settings
    metrics = Metrics(JobQueue(small.store_folder / QUEUE_FILE))
    registry = Registry(small.settings(**settings), small.store, metrics)
    await registry.start()
    try:
        yield Running(registry, metrics)
    finally:
        await registry.stop()


def play(small: SmallModel, scene: Callable[[Running], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Run a scene with a running registry, to its end."""

    async def whole() -> None:
        async with running(small, **settings) as one:
            await scene(one)

    asyncio.run(asyncio.wait_for(whole(), WAIT_SECONDS))


async def until(check: Callable[[], bool]) -> None:
    """Come back once it is true; the test fails when it never is."""
    for _ in range(6000):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")
