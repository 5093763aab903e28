"""The models in memory follow the store: what is new is taken up, what is damaged is not, what is old is let go."""

import asyncio
import gc
import shutil
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
from app.active import Policy, State
from app.errors import NotReady, UnknownModel
from app.machine import give_back
from app.serving import lane, loaded, registry, warm
from app.serving.features import FeatureReader
from app.serving.lane import Lane
from app.serving.query import Query
from app.serving.session import Scoring
from app.settings import Settings

from tests.clocks import Clock
from tests.serving.asking import rank
from tests.serving.graphs import write_graph
from tests.serving.store_changes import (
    Running,
    activate,
    active_version,
    play,
    publish_again,
    publish_graph,
    until,
)
from tests.small_model import NAME, SmallModel

ALL = {"baseline", "int8-dynamic", "int8-static"}


def test_everything_active_is_loaded_at_the_start(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        assert one.versions() == small.store.active(NAME).state.versions
        assert one.versions().keys() == ALL
        assert (one.failures(), one.registry.missing(), one.registry.names()) == ({}, {}, [NAME])

    play(small, scene)


def test_a_newly_active_version_is_taken_up_and_the_rest_stays(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        before = one.registry.get(NAME)
        new = publish_again(small, "int8-static")
        activate(small, new)
        assert (await one.answer("int8-static"))[0] != new.version
        await one.registry.refresh()
        after = one.registry.get(NAME)
        assert (await one.answer("int8-static"))[0] == new.version
        assert after.variants["baseline"] is before.variants["baseline"]
        assert after.variants["int8-static"].reader is before.variants["baseline"].reader

    play(small, scene)


def test_a_store_that_has_not_changed_changes_nothing(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        before = one.registry.get(NAME)
        await one.registry.refresh()
        assert one.registry.get(NAME) is before

    play(small, scene)


def test_changes_are_noticed_by_watching(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        new = publish_again(small, "baseline")
        activate(small, new)
        await until(lambda: one.versions()["baseline"] == new.version)
        assert (await one.answer())[0] == new.version

    play(small, scene, poll_seconds=0.01)


def test_another_policy_and_fewer_variants_are_taken_up(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        kept = {"baseline": active_version(small, "baseline")}
        small.store.activate(NAME, lambda state: State(kept, Policy("pinned", "baseline")))
        await one.registry.refresh()
        assert one.versions() == kept
        assert one.registry.get(NAME).active.state.policy.kind == "pinned"

    play(small, scene)


def test_a_request_under_way_ends_on_the_version_it_began_with(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        model, old = one.registry.get(NAME), active_version(small, "baseline")
        activate(small, publish_again(small, "baseline"))
        await one.registry.refresh()
        shutil.rmtree(small.store.folder(NAME, "baseline", old))
        ranking = await rank(model, Query({}, {}, ["i1"], variant="baseline"))
        assert ranking.version == old

    play(small, scene)


@pytest.fixture
def quiet_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run seems to take 50 us and 1 us for each row to whoever loads a version, whatever else the machine does."""
    clock, run = Clock(), warm._run

    def timed(scoring: Scoring, reader: FeatureReader, rows: int) -> None:
        run(scoring, reader, rows)
        clock.now += 50e-6 + 1e-6 * rows

    monkeypatch.setattr(warm, "_run", timed)
    monkeypatch.setattr(lane, "time", SimpleNamespace(perf_counter=clock))


@pytest.mark.usefixtures("quiet_timings")
@pytest.mark.parametrize("max_batch_rows", [1, 1024])
def test_after_single_candidates_the_next_version_still_knows_what_many_cost(
    small: SmallModel, max_batch_rows: int
) -> None:
    async def scene(one: Running) -> None:
        for _ in range(10):
            await rank(one.registry.get(NAME), Query({}, {}, ["i1"], variant="baseline"))
        activate(small, publish_again(small, "baseline"))
        await one.registry.refresh()
        cost = one.registry.get(NAME).variants["baseline"].lane.cost
        assert cost.seconds(10_000) > 4 * cost.seconds(1)
        assert cost.rows_within(0.005) < 1_000_000

    play(small, scene, max_batch_rows=max_batch_rows)


def test_a_version_of_another_size_is_timed_like_the_first(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, known = warm.warm_lane, list[bool]()

    def noted(folder: Path, reader: FeatureReader, settings: Settings, before: Lane | None) -> Lane:
        known.append(before is not None)
        return load(folder, reader, settings, before)

    monkeypatch.setattr(loaded, "warm_lane", noted)

    async def scene(one: Running) -> None:
        known.clear()
        activate(small, publish_again(small, "baseline"))
        await one.registry.refresh()
        activate(small, publish_graph(small, "baseline", write_graph))
        await one.registry.refresh()
        assert not one.failures()
        assert known == [True, False]

    play(small, scene)


def test_memory_of_a_swap_is_given_back_once_no_other_follows(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    def noted() -> None:
        given.append(threading.current_thread().name)
        give_back()

    monkeypatch.setattr(registry, "give_back", noted)
    monkeypatch.setattr(registry, "_SETTLE_SECONDS", 0.2)

    async def scene(one: Running) -> None:
        activate(small, publish_again(small, "baseline"))
        await until(lambda: bool(given))
        await asyncio.sleep(0.5)
        assert len(given) == 1
        assert given[0].startswith("loading")

    play(small, scene, poll_seconds=0.02)


def test_an_old_session_is_freed_when_nobody_uses_it_any_more(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        await one.answer()
        held = one.registry.get(NAME).variants["baseline"]
        session = weakref.ref(held.lane.scoring)

        def freed() -> bool:
            gc.collect()
            return session() is None

        activate(small, publish_again(small, "baseline"))
        await one.registry.refresh()
        await one.answer()  # the thread lets go of its last work only when it has new work
        gc.collect()
        assert session() is not None, "someone still uses it"
        del held
        await until(freed)  # the loading thread lets go of what was before its last load a moment after that

    play(small, scene)


def test_a_model_that_is_not_published_yet_is_expected_but_not_ready(small: SmallModel) -> None:
    shutil.rmtree(small.store_folder)

    async def scene(one: Running) -> None:
        assert (one.registry.names(), dict(one.registry.models)) == ([NAME], {})
        assert one.registry.missing() == {NAME: "nothing of it is published yet"}
        with pytest.raises(NotReady):
            one.registry.get(NAME)
        with pytest.raises(UnknownModel):
            one.registry.get("nope")

    play(small, scene)


def test_a_model_without_a_card_is_served_from_the_store_and_goes_on_when_that_is_away(
    small: SmallModel,
) -> None:
    shutil.rmtree(small.models)

    async def scene(one: Running) -> None:
        assert (one.registry.expected(), one.registry.names()) == ([], [NAME])
        assert one.versions().keys() == ALL
        before = await one.answer()
        shutil.rmtree(small.store_folder / NAME)
        await one.registry.refresh()
        assert one.registry.names() == [NAME]
        assert await one.answer() == before
        assert one.failures()[""].startswith("its active.json is gone from the store; ")
        assert one.metrics.labels_of(NAME, "baseline") == (NAME, "baseline")

    play(small, scene)
