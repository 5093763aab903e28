"""POST /v1/models/{model}/recommend: the whole catalog, but what is excluded and what was seen."""

from typing import Any

import pytest
from app.api.answers import RankResponse
from fastapi.testclient import TestClient

from tests.api.checks import RANK, RECOMMEND, ranking_of, refused

ITEMS = {f"i{number}" for number in range(150)}


def recommend(client: TestClient, **body: Any) -> RankResponse:
    return ranking_of(client.post(RECOMMEND, json={"variant": "baseline"} | body))


def order(ranking: RankResponse) -> list[str]:
    return [one.item_id for one in ranking.items]


def everything(client: TestClient, **body: Any) -> list[str]:
    return order(recommend(client, k=1000, **body))


def test_ten_of_the_catalog_unless_said_otherwise(client: TestClient) -> None:
    found = ranking_of(client.post(RECOMMEND, json={}))
    assert len(found.items) == 10
    assert found.unknown_user
    assert len(recommend(client, k=3).items) == 3
    assert set(everything(client)) == ITEMS


def test_it_is_the_ranking_of_all_items(client: TestClient) -> None:
    body = {"user": {"user_id": "u1"}, "context": {"device": "phone"}, "variant": "baseline"}
    ranked = ranking_of(
        client.post(RANK, json=body | {"candidates": sorted(ITEMS, key=lambda one: int(one[1:]))})
    )
    found = recommend(client, **body, k=150, exclude_seen=False)
    assert order(found) == order(ranked)
    assert [one.display for one in found.items] == [one.display for one in ranked.items]


def test_what_a_user_has_seen_is_left_out_unless_asked_for(client: TestClient) -> None:
    user = {"user_id": "u1"}
    left = everything(client, user=user)
    assert set(left) < ITEMS
    assert left == everything(client, user=user, exclude_seen=True)
    assert set(everything(client, user=user, exclude_seen=False)) == ITEMS


def test_excluded_items_are_left_out_and_unknown_ones_are_no_error(client: TestClient) -> None:
    best = order(recommend(client, k=3))
    assert best[0] not in order(recommend(client, exclude=[best[0], "nobody", best[0]]))
    assert order(recommend(client, k=2, exclude=best[:1])) == best[1:]
    assert recommend(client, exclude=sorted(ITEMS)).items == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"k": 10_001}, "k: 10,001 are too many; at most 10,000 are given"),
        ({"k": None}, "$.k"),
        ({"k": 0}, "$.k"),
        ({"k": 1_000_001}, "$.k"),
        ({"exclude": "i1"}, "$.exclude"),
        ({"exclude": [1]}, "$.exclude[0]"),
        ({"exclude": None}, "$.exclude"),
        ({"exclude": ["x"] * 100_001}, "$.exclude"),
        ({"exclude_seen": "yes"}, "$.exclude_seen"),
        ({"exclude_seen": 1}, "$.exclude_seen"),
        ({"candidates": ["i1"]}, "candidates"),
        ({"user": {"user_id": 5}}, "'user_id' must be text"),
    ],
)
def test_wrong_fields_are_refused_by_name(client: TestClient, body: dict[str, Any], said: str) -> None:
    assert said in refused(client.post(RECOMMEND, json=body), "invalid_input")


def test_other_errors_are_those_of_rank(client: TestClient) -> None:
    refused(client.post(RECOMMEND, json={"variant": "nope"}), "unknown_variant")
    refused(client.post(RECOMMEND, json={"user": {"price": 1}}), "unknown_feature")
    refused(client.post(RECOMMEND, json={"deadline_ms": 1e-6}), "deadline_exceeded")
    refused(client.post("/v1/models/nope/recommend", json={}), "unknown_model")
