"""The models in memory, kept like the store: a new active version is loaded and warmed first, and then swapped in."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType

from app.active import Active
from app.backoff import Backoff
from app.errors import ArtifactCorrupt, ConfigurationError, NotReady, UnknownModel
from app.machine import give_back, usable_cores
from app.model_card import BASELINE, model_names
from app.serving.admission import Admission
from app.serving.batcher import Batcher
from app.serving.lane import TURN_SECONDS
from app.serving.load import Load
from app.serving.loaded import Engine, LoadedModel, Loader, fault_of
from app.serving.loading import loading_thread
from app.serving.metrics import Metrics
from app.serving.shadow_queue import ShadowQueue, Traffic
from app.settings import Settings
from app.store import ArtifactStore

_FLUSH_SECONDS = 0.25
_SETTLE_SECONDS = 2.0
_QUICK_SECONDS = 0.001
_ONE_CORE_SECONDS = 1.2 * TURN_SECONDS
_LOG = logging.getLogger(__name__)


class Registry:
    """Holds a LoadedModel for each model of the store, and looks for changes every `poll_seconds`."""

    def __init__(self, settings: Settings, store: ArtifactStore, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._metrics = metrics
        # One thread: the sessions' own threads are what may use more cores, and requests stay first in, first out.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        batcher = Batcher(self._executor, _inline_seconds(settings.workers))
        traffic = Traffic(lambda: batcher.depth > 0, lambda: batcher.idle)
        shadows = ShadowQueue(traffic, metrics.shadow)
        self.engine = Engine(batcher, Admission(batcher, settings.max_queue), shadows)
        self._loader = Loader(store, settings, self.engine)
        self._loading = loading_thread(settings.inference_threads)
        self._models: Mapping[str, LoadedModel] = MappingProxyType({})
        self._expected: list[str] = []
        self._unread = ""
        self._retry_at: dict[str, tuple[float, Backoff]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load what is active, then keep watching."""
        await self.refresh()
        self._tasks = [asyncio.create_task(self._watch_store()), asyncio.create_task(self._flush_metrics())]

    async def stop(self) -> None:
        """Stop watching; what is loaded stays until the process ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.engine.batcher.close()
        await self.engine.shadows.stop()
        for executor in (self._loading, self._executor):
            executor.shutdown(wait=False, cancel_futures=True)
        self._metrics.flush()

    @property
    def models(self) -> Mapping[str, LoadedModel]:
        """The models in memory, by name."""
        return self._models

    def expected(self) -> list[str]:
        """Names of the models that the models folder has, whether they are loaded or not.

        Those of last time while it cannot be read, which the log tells once.
        """
        try:
            self._expected, self._unread = model_names(self._settings.models), ""
        except ConfigurationError as error:
            if error.message != self._unread:
                _LOG.error("%s", error.message)
            self._unread = error.message
        return self._expected

    def names(self) -> list[str]:
        """Every model that is expected or in memory."""
        return sorted({*self.expected(), *self._models})

    def get(self, name: str) -> LoadedModel:
        """The model in memory. Raises UnknownModel, and NotReady for one that is expected but not there yet."""
        model = self._models.get(name)
        if model is not None and model.variants:
            return model
        if model is not None or name in self.expected():
            raise NotReady(
                f"model {name!r} is not loaded yet; GET /health/ready says what is missing", model=name
            )
        raise UnknownModel(f"there is no model {name[:100]!r}; GET /v1/models lists them", model=name[:100])

    def missing(self) -> dict[str, str]:
        """For each model that cannot answer with its baseline or what the policy pins: what is missing."""
        found = {}
        for name in self.names():
            model = self._models.get(name)
            if model is None or not model.active.state.versions:
                why = model.failures.get("") if model is not None else None
                found[name] = why or "nothing of it is published yet"
            elif BASELINE not in model.variants:
                found[name] = "its baseline is not loaded"
        return found

    async def refresh(self) -> None:
        """Take up what has changed in the store, one model at a time."""
        models = dict(self._models)
        present = await asyncio.to_thread(self._store.models)
        for name in present:
            models[name] = await self._refreshed(name)
            self._models = MappingProxyType(dict(models))
        gone = models.keys() - set(present)
        for name in [name for name in gone if models[name].variants]:
            # The store is away or damaged, and may come back: what is loaded serves on, until the service ends.
            models[name] = self._lost(models[name])
            gone.discard(name)
        self._models = MappingProxyType({name: one for name, one in models.items() if name not in gone})
        self._metrics.forget_models(gone)

    async def _refreshed(self, name: str) -> LoadedModel:
        before = self._models.get(name)
        try:
            active = await asyncio.to_thread(self._store.active, name)
            if before is not None and not active.state.versions:  # it went since the folder was listed
                return self._lost(before)
            if before is not None and not self._is_stale(before, active):
                return before
            loop = asyncio.get_running_loop()
            after = await loop.run_in_executor(self._loading, self._loader.load, name, before)
        except ArtifactCorrupt as error:
            after = self._not_loaded(name, before, error.message)
        except Exception as error:  # noqa: BLE001  (it is logged whole)
            # It must not end the watch, or the start: other models serve, and this one by what is loaded.
            reason = fault_of(error)
            if before is None or before.failures.get("") != reason:  # the watch comes back at once
                _LOG.exception("%s: a fault of the service", name)
            after = self._not_loaded(name, before, reason)
        self._note(name, before, after)
        return after

    def _not_loaded(self, name: str, before: LoadedModel | None, reason: str) -> LoadedModel:
        """What is loaded, with the reason why nothing newer is."""
        failures = {"": reason}
        if before is not None:
            return replace(before, failures=failures)
        return LoadedModel(name, self.engine, Active(), {}, {}, Load(self.engine.taken), failures)

    def _lost(self, before: LoadedModel) -> LoadedModel:
        lost = (
            "its active.json is gone from the store; unless the store comes back, "
            f"`slimrank rewrite {before.name}` writes it anew"
        )
        if lost in before.failures.values():
            return before
        after = replace(before, failures={"": lost})
        self._note(before.name, before, after)
        return after

    def _is_stale(self, before: LoadedModel, active: Active) -> bool:
        if active != before.active:
            return True
        moment, _ = self._retry_at.get(before.name, (0.0, None))
        return bool(before.failures) and time.monotonic() >= moment

    def _note(self, name: str, before: LoadedModel | None, after: LoadedModel) -> None:
        """Say in the log and the metrics what was loaded and what was not; plan when to try again."""
        for variant, one in after.variants.items():
            old = before.variants.get(variant) if before else None
            if old is not one:
                kept = one.lane.scoring.kept_bytes
                beforehand = (
                    f"; values of its items, computed beforehand, take {kept:,} bytes" if kept else ""
                )
                _LOG.info("loaded %s/%s version %s%s", name, variant, one.rung.version, beforehand)
        for variant, reason in after.failures.items():
            self._metrics.load_failed(name, variant)
            if before is None or before.failures.get(variant) != reason:
                _LOG.error("%s: not loaded: %s", name, reason)
        if after.failures:
            _, backoff = self._retry_at.get(name, (0.0, Backoff()))
            self._retry_at[name] = (time.monotonic() + max(1.0, backoff.seconds_after(0.0)), backoff)
        else:
            self._retry_at.pop(name, None)
        self._metrics.know(name, after.rungs)

    async def _flush_metrics(self) -> None:
        told = ""
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                self._metrics.flush()
                told = ""
            except Exception as error:  # noqa: BLE001  (it is logged whole)
                if repr(error) != told:  # it comes back four times a second while their folder is missing
                    _LOG.exception("metrics: a fault of the service; what was counted is handed over later")
                told = repr(error)

    async def _watch_store(self) -> None:
        gives_back_at = math.inf
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            before = self._models
            try:
                self._metrics.measure_memory()
                await self.refresh()
                # What a version took while it was loaded, and the one before it; once no other follows at once.
                if any(before.get(name) is not model for name, model in self._models.items()):
                    gives_back_at = time.monotonic() + _SETTLE_SECONDS
                elif time.monotonic() >= gives_back_at:
                    gives_back_at = math.inf
                    await asyncio.get_running_loop().run_in_executor(self._loading, give_back)
            except OSError as error:
                # What is loaded goes on serving; the store may come back.
                _LOG.error("the store cannot be read: %s", error.strerror)
            except Exception:  # noqa: BLE001  (it is logged whole)
                # A watch that ends would leave this worker with what it has, and nobody would see it.
                _LOG.exception("the watch of the store: a fault of the service; it goes on")


def _inline_seconds(workers: int) -> float:
    """Which runs are done on the event loop, by the cores that a worker has.

    With a core of its own for the thread, only those that take no longer than to hand them over and wake up again. On
    one core a thread gains nothing: both would take turns, and each change of turns costs.
    """
    return _QUICK_SECONDS if usable_cores() >= 2 * workers else _ONE_CORE_SECONDS
