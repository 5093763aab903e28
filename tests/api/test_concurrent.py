"""Many requests at once: each gets the answer that it gets alone, or is told to come again."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from app.api.answers import RankResponse
from app.api.service import create_app
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.bodies import RIGHT_RANK, RIGHT_RECOMMEND
from tests.api.checks import ADMIN, AN_HOUR_MS, KEY, RANK, RECOMMEND, ranking_of, refused
from tests.processes import WAIT_SECONDS
from tests.serving.store_changes import activate, publish_again
from tests.small_model import NAME, SmallModel

Body = dict[str, Any]
# Variants whose scores may move with the rows they are batched with are rejected for that.
PASSED = st.sampled_from(["baseline", "int8-static"])
REQUESTS = st.lists(
    st.tuples(st.just(RANK), RIGHT_RANK) | st.tuples(st.just(RECOMMEND), RIGHT_RECOMMEND),
    min_size=2,
    max_size=12,
).flatmap(
    lambda some: st.lists(PASSED, min_size=len(some), max_size=len(some)).map(
        lambda names: [
            (path, body | {"variant": name}) for (path, body), name in zip(some, names, strict=True)
        ]
    )
)


@asynccontextmanager
async def connected(small: SmallModel, **others: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """The application on this event loop, so that requests are truly under way together."""
    settings = {"admin_key": KEY, "poll_seconds": 3600.0, "deadline_ms": AN_HOUR_MS} | others
    app = create_app(small.settings(**settings))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


def play(
    small: SmallModel, scene: Callable[[httpx2.AsyncClient], Coroutine[Any, Any, None]], **others: Any
) -> None:
    async def whole() -> None:
        async with connected(small, **others) as client:
            await scene(client)

    asyncio.run(asyncio.wait_for(whole(), WAIT_SECONDS))


async def at_once(client: httpx2.AsyncClient, requests: list[tuple[str, Body]]) -> list[httpx2.Response]:
    return await asyncio.gather(*(client.post(path, json=body) for path, body in requests))


def differs(one: RankResponse, other: RankResponse) -> float:
    """The largest difference between two answers to one request; their items agree but for equal scores."""
    assert (one.variant, one.version, one.unknown_items) == (
        other.variant,
        other.version,
        other.unknown_items,
    )
    assert len(one.items) == len(other.items)
    scores = {item.item_id: item.score for item in other.items}
    differences = [abs(a.score - b.score) for a, b in zip(one.items, other.items, strict=True)]
    differences += [abs(item.score - scores[item.item_id]) for item in one.items if item.item_id in scores]
    return max(differences, default=0.0)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(requests=REQUESTS)
def test_a_request_among_others_gets_the_answer_it_gets_alone(
    small_model: SmallModel, requests: list[tuple[str, Body]]
) -> None:
    async def scene(client: httpx2.AsyncClient) -> None:
        alone = [ranking_of(await client.post(path, json=body)) for path, body in requests]
        for together in (await at_once(client, requests), await at_once(client, requests * 3)):
            for one, other in zip(alone, together, strict=False):
                assert differs(one, ranking_of(other)) <= 1e-6

    play(small_model, scene, max_batch_rows=200)


def test_a_request_that_is_wrong_disturbs_none_beside_it(small_model: SmallModel) -> None:
    right: Body = {"candidates": ["i1", "i2", "i3"], "variant": "baseline"}
    huge: Body = {"candidates": [{"item_id": "i1", "text": [3e38, -3e38, 3e38, 3e38]}], "variant": "baseline"}

    async def scene(client: httpx2.AsyncClient) -> None:
        alone = ranking_of(await client.post(RANK, json=right))
        responses = await at_once(client, [(RANK, right), (RANK, huge), (RANK, right), (RANK, {})] * 5)
        for position, response in enumerate(responses):
            if position % 2:
                refused(response, "invalid_input")
            else:
                assert differs(alone, ranking_of(response)) <= 1e-6

    play(small_model, scene)


def test_a_full_queue_asks_to_come_again_and_loses_nothing(small: SmallModel) -> None:
    body: Body = {"candidates": ["i1", "i2"], "variant": "baseline"}

    async def scene(client: httpx2.AsyncClient) -> None:
        responses = await at_once(client, [(RANK, body)] * 40)
        shed = [one for one in responses if one.status_code != 200]
        assert shed
        assert len(shed) < 40
        for response in shed:
            assert "1 requests are waiting already" in refused(response, "overloaded")
            assert response.headers["retry-after"] == "1"
        for response in responses:
            if response.status_code == 200:
                ranking_of(response)
        ranking_of(await client.post(RANK, json=body))
        text = (await client.get("/metrics")).text
        # Some were refused before it was read which variant they ask for.
        series = (
            rf'slimrank_requests_total{{model="{NAME}",outcome="overloaded",variant="(?:baseline)?"}} (\d+)'
        )
        assert sum(map(int, re.findall(series, text))) == len(shed)

    play(small, scene, max_queue=1)


def test_no_request_is_lost_while_versions_change(small: SmallModel) -> None:
    body: Body = {"candidates": ["i1", "i2"], "variant": "baseline"}
    ended: list[httpx2.Response] = []

    async def scene(client: httpx2.AsyncClient) -> None:
        async def keep_asking(stop: asyncio.Event) -> None:
            while not stop.is_set():
                ended.append(await client.post(RANK, json=body))

        stop, wanted = asyncio.Event(), set()
        ended.append(await client.post(RANK, json=body))
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(keep_asking(stop))
            for seed in range(1, 5):
                new = await asyncio.to_thread(publish_again, small, "baseline", seed)
                await asyncio.to_thread(activate, small, new)
                wanted.add(new.version)
                while ended[-1].json().get("version") != new.version:
                    ended.append(await client.post(RANK, json=body))
            stop.set()
        found = [ranking_of(one) for one in ended]
        assert wanted < {one.version for one in found}, "and the one that was active before"
        first = [item.score for item in found[0].items]
        assert all([item.score for item in one.items] == pytest.approx(first, abs=1e-6) for one in found)

    play(small, scene, poll_seconds=0.01)


def test_a_client_that_goes_away_costs_the_others_nothing(small: SmallModel) -> None:
    body: Body = {"candidates": [f"i{n}" for n in range(100)], "variant": "baseline"}

    async def scene(client: httpx2.AsyncClient) -> None:
        tasks = [asyncio.create_task(client.post(RANK, json=body)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
        assert all(ranking_of(one).items for one in found[1::2] if isinstance(one, httpx2.Response))
        assert all(isinstance(one, httpx2.Response) for one in found[1::2])
        assert (await client.get("/admin/jobs", headers=ADMIN)).status_code == 200

    play(small, scene)
