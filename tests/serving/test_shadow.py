"""The shadow: real sessions score what was answered once more, and the metrics say how alike they were."""

import shutil
from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from app.active import Canary, Policy, Shadow, State
from app.artifact import Manifest
from app.catalog import Catalog
from app.serving import shadow, shadow_queue
from app.serving.features import FeatureReader
from app.serving.fidelity import compare
from app.serving.metrics import Metrics
from app.serving.query import Features, Query
from app.store import CATALOG
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.asking import rank
from tests.serving.store_changes import Running, activate, active_version, damage, play, until
from tests.small_model import NAME, SmallModel

IDS = [f"i{n}" for n in range(40)]
LABELS = {"model": NAME, "variant": "baseline", "against": "int8-static"}
HISTOGRAMS = ("overlap_at_10", "kendall_tau", "score_distance")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, the shadow waits for its turn."""
    monkeypatch.setattr(shadow_queue, "PATIENCE_SECONDS", 60.0)


def shadowed(small: SmallModel, percent: float = 100, against: str = "int8-static", **policy: Any) -> None:
    wanted = Policy("pinned", "baseline", shadow=Shadow(against, percent), **policy)
    small.store.activate(NAME, lambda state: State(state.versions, wanted, "a test", "admin"))


def samples(metrics: Metrics, name: str) -> list[tuple[dict[str, str], float]]:
    text = metrics.exposition().decode()
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return [(sample.labels, sample.value) for sample in found if sample.name == f"slimrank_shadow_{name}"]


def told(one: Running, name: str) -> float:
    ((_, value),) = samples(one.metrics, name)
    return value


def outcomes(one: Running) -> Counter[str]:
    found: Counter[str] = Counter()
    for labels, value in samples(one.metrics, "requests_total"):
        found[labels["outcome"]] += int(value)
    return found


def asked(candidates: Any = IDS, **changes: Any) -> Query:
    return Query({"user_id": "u1"}, {"device": "phone"}, candidates, **changes)


async def send(one: Running, query: Query) -> None:
    """A request that is answered, and whatever its shadow does, done."""
    before = outcomes(one).total()
    await rank(one.registry.get(NAME), query)
    await until(lambda: outcomes(one).total() > before)


def test_an_answer_is_compared_with_what_the_other_variant_would_have_said(small: SmallModel) -> None:
    shadowed(small)

    async def scene(one: Running) -> None:
        await send(one, asked())
        assert outcomes(one) == {"compared": 1}
        ((labels, _),) = samples(one.metrics, "requests_total")
        assert labels == LABELS | {"outcome": "compared"}
        sums = {name: told(one, f"{name}_sum") for name in HISTOGRAMS}
        assert {told(one, f"{name}_count") for name in (*HISTOGRAMS, "score_difference")} == {1}
        found = []
        for variant in ("baseline", "int8-static"):
            ranking = await rank(one.registry.get(NAME), asked(variant=variant))
            by_id = {item.item_id: item.score for item in ranking.items}
            found.append(np.array([by_id[item_id] for item_id in IDS], np.float32))
        expected = compare(*found)
        figures = (expected.overlap_at_10, expected.kendall_tau, expected.mean_absolute_difference)
        assert sums == pytest.approx(dict(zip(HISTOGRAMS, figures, strict=True)), abs=1e-6)
        assert 0 < expected.mean_absolute_difference < 0.05

    play(small, scene)


def test_the_share_is_met_whatever_pattern_requests_come_in(small: SmallModel) -> None:
    shadowed(small, percent=30)

    async def scene(one: Running) -> None:
        offers = Counter[int]()
        which = one.registry.get(NAME).shadow
        assert which is not None
        for number in range(10_000):
            offers[number % 2] += which._is_sampled()
        assert offers[0] / 5000 == pytest.approx(0.3, abs=0.01)
        assert offers[1] / 5000 == pytest.approx(0.3, abs=0.01)

    play(small, scene)


def test_no_share_is_never_and_its_own_answers_are_not_compared(small: SmallModel) -> None:
    shadowed(small, percent=0)

    async def nothing(one: Running) -> None:
        for _ in range(50):
            await rank(one.registry.get(NAME), asked())
        assert outcomes(one) == {}

    play(small, nothing)
    shadowed(small)

    async def its_own(one: Running) -> None:
        await rank(one.registry.get(NAME), asked(variant="int8-static"))
        await send(one, asked(variant="int8-dynamic"))
        assert [labels["variant"] for labels, _ in samples(one.metrics, "requests_total")] == ["int8-dynamic"]

    play(small, its_own)


def test_a_canary_is_compared_with_what_is_pinned(small: SmallModel) -> None:
    shadowed(small, against="baseline", canary=Canary("int8-static", 100))

    async def scene(one: Running) -> None:
        await send(one, asked())
        ((labels, _),) = samples(one.metrics, "requests_total")
        assert (labels["variant"], labels["against"]) == ("int8-static", "baseline")

    play(small, scene)


def test_many_candidates_are_run_in_parts_with_the_same_result(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadowed(small)

    async def scene(one: Running) -> None:
        sums = []
        for rows in (1000, 7):
            monkeypatch.setattr(shadow, "ROWS_PER_RUN", rows)
            await send(one, asked(None))
            sums.append(
                [samples(one.metrics, f"{name}_sum")[0][1] for name in ("kendall_tau", "score_distance")]
            )
        assert outcomes(one) == {"compared": 2}
        assert sums[1] == pytest.approx([2 * value for value in sums[0]], abs=1e-5)

    play(small, scene)


def test_what_cannot_be_compared_is_counted_by_its_reason(small: SmallModel) -> None:
    shadowed(small)

    async def scene(one: Running) -> None:
        await send(one, asked(["i1"]))
        await send(one, asked(["nobody knows"]))
        assert outcomes(one) == {"too_few": 2}

    play(small, scene)
    version = active_version(small, "int8-static")
    damage(small, small.store.manifest(NAME, "int8-static", version))

    async def not_loaded(one: Running) -> None:
        await send(one, asked())
        assert outcomes(one) == {"not_loaded": 1}

    play(small, not_loaded)


def with_other_catalog(small: SmallModel) -> list[str]:
    """int8-static made with half of the items, in another order; gives the ids of these."""
    store, old = small.store, small.store.manifest(NAME, "int8-static", active_version(small, "int8-static"))
    whole = Catalog.open(store.folder(NAME, CATALOG, str(old.catalog)))
    rows = np.arange(len(whole.item_ids))[::-2]
    half = replace(
        whole,
        item_ids=[whole.item_ids[row] for row in rows.tolist()],
        items={name: np.asarray(values[rows]) for name, values in whole.items.items()},
        display={},
        seen_offsets=np.zeros_like(whole.seen_offsets),
        seen_items=whole.seen_items[:0],
    )
    with store.staged() as folder:
        half.write(folder)
        catalog = store.publish(folder, Manifest(model=NAME, variant=CATALOG, inputs_sha256="f" * 64))
    with store.staged() as folder:
        for entry in old.files:
            shutil.copy(store.folder(NAME, "int8-static", old.version) / entry.name, folder)
        new = store.publish(folder, msgspec.structs.replace(old, catalog=catalog.version, version=""))
    activate(small, new)
    return half.item_ids


def test_a_variant_with_another_catalog_is_asked_about_the_items_that_both_know(small: SmallModel) -> None:
    common = [item_id for item_id in with_other_catalog(small) if item_id in IDS]
    shadowed(small)
    assert 2 < len(common) < len(IDS)

    async def scene(one: Running) -> None:
        model = one.registry.get(NAME)
        assert model.variants["baseline"].reader is not model.variants["int8-static"].reader
        await send(one, asked())
        found = {name: told(one, name) for name in ("kendall_tau_sum", "score_distance_sum")}
        await send(one, asked(common))
        assert {name: told(one, name) / 2 for name in found} == pytest.approx(found, abs=1e-5)
        await send(one, asked(None))
        assert outcomes(one) == {"compared": 3}
        strangers = [item_id for item_id in IDS if item_id not in common]
        await send(one, asked(strangers))
        assert outcomes(one) == {"compared": 3, "too_few": 1}

    play(small, scene)


def test_a_query_that_the_other_cannot_encode_is_skipped(small: SmallModel) -> None:
    shadowed(small)

    async def scene(one: Running) -> None:
        model = one.registry.get(NAME)
        other, reader = model.variants["int8-static"], model.variants["baseline"].reader
        strict = replace(other, reader=FeatureReader(other.reader.catalog, max_candidates=3))
        queue = one.registry.engine.shadows
        picky = shadow.Shadow(NAME, Shadow("int8-static", 100), {"int8-static": strict}, queue)
        picky.offer("baseline", reader, asked(), reader.encode(asked()), np.zeros(40, np.float32))
        await until(lambda: outcomes(one) == {"encoding": 1})

    play(small, scene)


def test_a_graph_that_breaks_is_counted_and_harms_nobody(
    small: SmallModel, caplog: pytest.LogCaptureFixture
) -> None:
    shadowed(small)

    async def scene(one: Running) -> None:
        model = one.registry.get(NAME)
        encoded = model.variants["baseline"].reader.encode(asked())
        broken = {name: values for name, values in encoded.features.inputs.items() if name != "price"}
        wrong = msgspec.structs.replace(encoded, features=Features(broken, encoded.features.rows))
        assert model.shadow is not None
        reader = model.variants["baseline"].reader
        for _ in range(3):
            model.shadow.offer("baseline", reader, asked(), wrong, np.zeros(40, np.float32))
            await until(lambda: not one.registry.engine.shadows._queue)
        await until(lambda: outcomes(one) == {"failed": 3})
        assert len([one for one in caplog.records if "cannot score" in one.message]) == 1
        await send(one, asked())
        assert outcomes(one) == {"failed": 3, "compared": 1}

    play(small, scene)


def test_scores_that_are_no_numbers_are_not_compared(small: SmallModel) -> None:
    shadowed(small, against="baseline")

    async def scene(one: Running) -> None:
        model = one.registry.get(NAME)
        reader = model.variants["int8-static"].reader
        query = asked([{"item_id": item_id, "text": [3e38, -3e38, 3e38, -3e38]} for item_id in IDS[:3]])
        assert model.shadow is not None
        model.shadow.offer("int8-static", reader, query, reader.encode(query), np.zeros(3, np.float32))
        await until(lambda: outcomes(one) == {"not_finite": 1})

    play(small, scene)


def test_another_policy_has_another_shadow_and_the_end_waits_for_nothing(small: SmallModel) -> None:
    async def scene(one: Running) -> None:
        assert one.registry.get(NAME).shadow is None
        shadowed(small)
        await one.registry.refresh()
        await send(one, asked())
        small.store.activate(NAME, lambda state: State(state.versions, Policy(), "b", "admin"))
        await one.registry.refresh()
        assert one.registry.get(NAME).shadow is None
        shadowed(small)
        await one.registry.refresh()
        for _ in range(5):
            await rank(one.registry.get(NAME), asked(None))

    play(small, scene)


def test_a_state_that_cannot_be_read_leaves_the_shadow_as_it_is(small: SmallModel) -> None:
    shadowed(small)

    async def scene(one: Running) -> None:
        (small.store_folder / NAME / "active.json").write_text("{")
        await one.registry.refresh()
        await send(one, asked())
        assert outcomes(one) == {"compared": 1}

    play(small, scene)
