"""From a query to a ranking: the order of the scores, and what is refused on the way."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import numpy as np
import pytest
from app.active import Canary, Policy, State
from app.errors import DeadlineExceeded, InvalidInput, NotReady, ServiceError, UnknownVariant
from app.serving.loaded import LoadedModel
from app.serving.query import Query, Ranking
from app.serving.ranker import begin, best, finish
from app.serving.waiting import Scored
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import keep_load
from tests.serving.asking import rank
from tests.serving.store_changes import active_version, damage, publish_as, running
from tests.small_model import NAME, SmallModel

SCORE = st.sampled_from([0.0, -0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)
SCORES = st.lists(SCORE, max_size=60) | st.builds(
    lambda few, times: (few * times)[:1500], st.lists(SCORE, min_size=3, max_size=60), st.integers(5, 100)
)
"""Few, which are sorted, and many, which are searched."""
IDS = [f"i{n}" for n in range(40)]


@given(SCORES.filter(len), st.none() | st.integers(1, 80) | st.integers(1, 1600))
def test_the_best_are_those_of_a_plain_sort_that_keeps_the_order_of_equals(
    scores: list[float], k: int | None
) -> None:
    plain = sorted(range(len(scores)), key=lambda position: -scores[position])
    assert best(np.array(scores, np.float32), k).tolist() == plain[:k]


def test_many_equal_scores_keep_their_order_too() -> None:
    scores = np.tile(np.array([0.25, 0.5, 0.75], np.float32), 500)
    plain = sorted(range(len(scores)), key=lambda position: -scores[position])
    for k in (None, 1, 400, 600, 1200, 1499):
        assert best(scores, k).tolist() == plain[:k]


def test_no_scores_have_no_best() -> None:
    nothing = np.zeros(0, np.float32)
    assert best(nothing, None).tolist() == best(nothing, 3).tolist() == []


def with_model(
    small: SmallModel, work: Callable[[LoadedModel], Coroutine[Any, Any, Any]], **settings: Any
) -> Any:
    async def scene() -> Any:
        async with running(small, **settings) as one:
            return await work(one.registry.get(NAME))

    return asyncio.run(scene())


def ranking_of(small: SmallModel, query: Query, **settings: Any) -> Ranking:
    found: Ranking = with_model(small, lambda model: rank(model, query), **settings)
    return found


def refused(small: SmallModel, query: Query) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        ranking_of(small, query)
    return raised.value


def asked(candidates: Any = IDS, **changes: Any) -> Query:
    return Query({"user_id": "u1"}, {"device": "phone"}, candidates, **{"variant": "baseline", **changes})


def test_items_are_ranked_best_first_with_their_own_scores_and_display(small_model: SmallModel) -> None:
    ranking = ranking_of(small_model, asked())
    assert [one.rank for one in ranking.items] == list(range(1, 41))
    assert sorted(one.item_id for one in ranking.items) == sorted(IDS)
    scores = [one.score for one in ranking.items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 30
    assert (ranking.variant, ranking.version) == ("baseline", active_version(small_model, "baseline"))
    assert (ranking.candidates, ranking.unknown_user, ranking.unknown_items) == (40, False, [])
    alone = [ranking_of(small_model, asked([one.item_id])).items[0] for one in ranking.items[:3]]
    assert [one.score for one in alone] == pytest.approx(scores[:3], abs=1e-6)
    assert [one.display for one in alone] == [one.display for one in ranking.items[:3]]


def test_k_cuts_the_ranking_and_changes_nothing_else(small_model: SmallModel) -> None:
    async def work(model: LoadedModel) -> None:
        everything = (await rank(model, asked())).items
        assert (await rank(model, asked(k=7))).items == everything[:7]
        assert (await rank(model, asked(k=1000))).items == everything

    # One worker: it may load the graph whole or in parts, which differ in their rounding.
    with_model(small_model, work)


def test_equal_scores_keep_the_order_of_the_candidates(small_model: SmallModel) -> None:
    strangers = [{"item_id": f"new {n}", "price": 1.0} for n in (3, 1, 2)]
    for order in (strangers, strangers[::-1]):
        ranking = ranking_of(small_model, asked(order))
        assert len({one.score for one in ranking.items}) == 1
        assert [one.item_id for one in ranking.items] == [one["item_id"] for one in order]
        assert [one.display for one in ranking.items] == [{}, {}, {}]


def test_nothing_known_is_an_empty_ranking_and_no_run(small_model: SmallModel) -> None:
    ranking = ranking_of(small_model, asked(["nobody"]))
    assert (ranking.items, ranking.unknown_items, ranking.candidates) == ([], ["nobody"], 0)
    assert ranking.timing.infer_ms == 0


@pytest.mark.parametrize("variant", ["baseline", "int8-static"])
def test_a_request_that_is_run_in_parts_has_the_scores_of_one_that_is_not(
    small_model: SmallModel, variant: str
) -> None:
    query = Query({"user_id": "u3"}, {}, None, variant=variant)
    whole = ranking_of(small_model, query)
    parts = ranking_of(small_model, query, max_batch_rows=7)
    assert whole.candidates == parts.candidates == 150
    expected = {one.item_id: one.score for one in whole.items}
    assert {one.item_id: one.score for one in parts.items} == pytest.approx(expected, abs=1e-6)


def test_a_deadline_that_has_passed_is_told_before_anything_is_computed(small_model: SmallModel) -> None:
    error = refused(small_model, asked(deadline=time.perf_counter()))
    assert isinstance(error, DeadlineExceeded)
    assert error.message.endswith("nothing was computed")


def test_scores_that_come_after_the_deadline_are_told_as_late(small_model: SmallModel) -> None:
    async def work(model: LoadedModel) -> None:
        query = asked(deadline=time.perf_counter() + 3600)
        in_time = begin(model, query)
        late = msgspec.structs.replace(
            in_time, query=msgspec.structs.replace(query, deadline=time.perf_counter())
        )
        scores = Scored(np.zeros(3, np.float32), 0.0, 0.01)
        assert len(finish(in_time, scores).items) == 3
        with pytest.raises(DeadlineExceeded, match=r"ready .+ ms after the deadline; ask for fewer"):
            finish(late, scores)

    with_model(small_model, work)


def test_scores_that_are_not_finite_are_the_fault_of_the_request(small_model: SmallModel) -> None:
    error = refused(small_model, asked([{"item_id": "i1", "text": [3e38, -3e38, 3e38, -3e38]}]))
    assert isinstance(error, InvalidInput)
    assert "no finite score" in error.message


def test_an_unknown_variant_is_refused(small_model: SmallModel) -> None:
    assert isinstance(refused(small_model, asked(variant="nope")), UnknownVariant)


def test_the_fastest_that_passed_at_the_size_of_the_request_answers(small_model: SmallModel) -> None:
    async def at_each_size(model: LoadedModel) -> None:
        for query in (
            Query({}, {}, IDS[:1]),
            Query({}, {}, [{"item_id": one} for one in IDS[:10]]),
            Query({}, {}, {"item_id": IDS}),
            Query({}, {}, None),
        ):
            ranking = await rank(model, query)
            passed = [rung for rung in model.rungs.values() if rung.verdict.outcome == "passed"]
            fastest = max(passed, key=lambda rung: rung.speedup_at(ranking.candidates))
            faster = fastest.speedup_at(ranking.candidates) > 1
            assert ranking.variant == (fastest.variant if faster else "baseline")
            assert ranking.degraded_reason is None

    with_model(small_model, at_each_size)


def test_another_variant_answers_for_one_that_cannot_be_loaded_and_says_so(
    small: SmallModel,
) -> None:
    small.store.activate(NAME, lambda state: State(state.versions, Policy("pinned", "int8-static")))
    damage(small, small.store.manifest(NAME, "int8-static", active_version(small, "int8-static")))
    ranking = ranking_of(small, Query({}, {}, IDS))
    assert ranking.variant == "baseline"
    assert ranking.degraded_reason == "variant 'int8-static' is not loaded, so 'baseline' answered"
    assert isinstance(refused(small, asked(variant="int8-static")), NotReady)


def test_a_damaged_baseline_is_missed_by_the_ladder(small: SmallModel) -> None:
    versions = {name: active_version(small, name) for name in ("baseline", "int8-dynamic")}
    small.store.activate(NAME, lambda state: State(versions))
    for name in ("model.onnx", "manifest.json"):
        damage(small, small.store.manifest(NAME, "baseline", versions["baseline"]), name)
        ranking = ranking_of(small, Query({}, {}, IDS))
        assert ranking.variant == "int8-dynamic", "it was rejected, but nothing else is left"
        assert ranking.degraded_reason == "variant 'baseline' is not loaded, so 'int8-dynamic' answered"
        assert isinstance(refused(small, asked()), NotReady)


@pytest.mark.parametrize(
    "query",
    [
        Query({}, {}, IDS, variant="nope"),
        Query({"nope": 1}, {}, IDS),
        Query({}, {}, [""] * 2_000_000),
        Query({}, {}, {"item_id": ["i1"], "price": [1.0] * 2_000_000}),
        Query({}, {}, IDS, deadline=0.0),
    ],
    ids=["variant", "feature", "many", "uneven", "late"],
)
def test_what_is_refused_for_what_it_asks_is_no_load(small: SmallModel, query: Query) -> None:
    async def work(model: LoadedModel) -> None:
        for _ in range(20):
            with pytest.raises(ServiceError):
                await rank(model, query)
        assert model.load.utilization(float, 1.0) == 0
        await rank(model, Query({}, {}, IDS))
        assert model.load.utilization(float, 1.0) > 0

    with_model(small, work)


def test_what_names_its_variant_is_a_load_by_what_it_takes(small: SmallModel) -> None:
    async def work(model: LoadedModel) -> None:
        for _ in range(20):
            await rank(model, Query({}, {}, IDS, variant="int8-static"))
        assert model.load.taken_share() > 0
        assert model.load.utilization(float, 1.0) == 0, "whatever a rung would take"

    with_model(small, work)


def test_what_the_canary_answers_is_a_load_by_what_it_takes(small: SmallModel) -> None:
    policy = Policy(canary=Canary("int8-static", 100.0))
    small.store.activate(NAME, lambda state: State(state.versions, policy))

    async def work(model: LoadedModel) -> None:
        for _ in range(20):
            assert (await rank(model, Query({}, {}, IDS))).variant == "int8-static"
        assert model.load.taken_share() > 0
        assert model.load.utilization(float, 1.0) == 0

    with_model(small, work)


def test_the_models_of_a_worker_see_each_other_load(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_as(small, "other")
    state = small.store_folder / "other" / "active.json"
    sound = state.read_bytes()
    state.write_bytes(b"damaged")  # at the start: a model that heals is one of them all the same

    async def scene() -> None:
        async with running(small) as one:
            state.write_bytes(sound)
            await one.registry.refresh()
            mine, other = one.registry.get(NAME), one.registry.get("other")
            keep_load(monkeypatch, mine.load, other.load)
            for _ in range(20):
                await rank(mine, Query({}, {}, IDS))
            assert mine.load.taken_share() == pytest.approx(0.0, abs=1e-3)
            assert other.load.taken_share() > 0

    asyncio.run(scene())
