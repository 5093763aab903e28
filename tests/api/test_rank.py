"""POST /v1/models/{model}/rank: the three forms of candidates, and every field of request and answer."""

from typing import Any

import pytest
from app.api import hot
from app.api.answers import RankResponse
from app.errors import DeadlineExceeded
from fastapi.testclient import TestClient

from tests.api.checks import RANK, ranking_of, refused
from tests.small_model import NAME

IDS = ["i1", "i2", "i3", "i4", "i5"]


def rank(client: TestClient, candidates: Any = IDS, **fields: Any) -> RankResponse:
    body = {"user": {"user_id": "u1"}, "variant": "baseline", "candidates": candidates} | fields
    return ranking_of(client.post(RANK, json=body))


def order(ranking: RankResponse) -> list[str]:
    return [one.item_id for one in ranking.items]


def scores(ranking: RankResponse) -> dict[str, float]:
    return {one.item_id: one.score for one in ranking.items}


def refusal(client: TestClient, code: str = "invalid_input", **fields: Any) -> str:
    return refused(client.post(RANK, json={"candidates": IDS} | fields), code)


def test_the_answer_says_who_ranked_what(client: TestClient) -> None:
    found = rank(client)
    assert (found.model, found.variant, found.degraded) == (NAME, "baseline", False)
    assert sorted(order(found)) == IDS
    assert (found.unknown_items, found.unknown_user) == ([], False)
    assert all(one.display.keys() == {"category"} for one in found.items)
    assert found.version == client.get("/health/ready").json()["models"][NAME]["loaded"]["baseline"]


def test_the_three_forms_of_candidates_are_the_same(client: TestClient) -> None:
    plain = rank(client)
    for candidates in ([{"item_id": one} for one in IDS], {"item_id": IDS}):
        assert rank(client, candidates).items == plain.items


def test_candidates_alone_are_enough_and_the_user_is_unknown_then(client: TestClient) -> None:
    found = ranking_of(client.post(RANK, json={"candidates": IDS}))
    assert found.unknown_user
    assert len(found.items) == 5


def test_features_of_the_request_replace_those_of_the_catalog(client: TestClient) -> None:
    plain = scores(rank(client))
    changed = scores(rank(client, ["i1", "i2"], user={"user_id": "u1", "history": ["i7", "i9"]}))
    assert changed["i1"] != plain["i1"]
    mixed = scores(rank(client, [{"item_id": "i1", "price": 9.5}, {"item_id": "i2", "price": None}]))
    assert mixed["i1"] != plain["i1"]
    assert mixed["i2"] == pytest.approx(plain["i2"], abs=1e-6)


def test_context_counts(client: TestClient) -> None:
    phone, desktop = (scores(rank(client, context={"device": one})) for one in ("phone", "desktop"))
    assert phone != desktop


def test_a_cold_candidate_is_ranked_and_one_without_anything_is_not(client: TestClient) -> None:
    found = rank(client, [{"item_id": "i1"}, {"item_id": "new", "price": 1.0}, {"item_id": "bare"}])
    assert set(order(found)) == {"i1", "new"}
    assert found.unknown_items == ["bare"]
    assert next(one for one in found.items if one.item_id == "new").display == {}


def test_all_unknown_is_an_empty_ranking(client: TestClient) -> None:
    found = rank(client, ["a", "b"])
    assert (found.items, found.unknown_items) == ([], ["a", "b"])


def test_k_cuts_the_ranking(client: TestClient) -> None:
    everything = rank(client).items
    assert rank(client, k=2).items == everything[:2]
    assert rank(client, k=1_000_000).items == rank(client, k=None).items == everything


@pytest.mark.parametrize("k", [0, -1, 1_000_001, 1.5, "3", True, 10**30])
def test_k_out_of_bounds_is_refused_by_name(client: TestClient, k: Any) -> None:
    assert "$.k" in refusal(client, k=k)


@pytest.mark.parametrize("variant", ["baseline", "int8-static", "int8-dynamic"])
def test_every_active_variant_answers_by_name_whether_it_passed_or_not(
    client: TestClient, variant: str
) -> None:
    found = rank(client, variant=variant)
    assert (found.variant, found.degraded) == (variant, False)


def test_auto_is_the_default_variant(client: TestClient) -> None:
    assert (
        rank(client, variant="auto").variant
        == ranking_of(client.post(RANK, json={"user": {"user_id": "u1"}, "candidates": IDS})).variant
    )


def test_an_unknown_variant_is_not_found(client: TestClient) -> None:
    assert "there are: baseline" in refusal(client, "unknown_variant", variant="student-int4")
    assert "$.variant" in refusal(client, variant="")
    assert "$.variant" in refusal(client, variant="x" * 65)


def test_a_deadline_that_cannot_be_kept_is_told(client: TestClient) -> None:
    assert "nothing was computed" in refusal(client, "deadline_exceeded", deadline_ms=1e-6)
    assert rank(client, deadline_ms=60_000).items
    assert rank(client, deadline_ms=None).items


@pytest.mark.parametrize("deadline", [0, -1, 3_600_001, "50", True])
def test_a_deadline_out_of_bounds_is_refused_by_name(client: TestClient, deadline: Any) -> None:
    assert "$.deadline_ms" in refusal(client, deadline_ms=deadline)


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        (None, "$.candidates"),
        ("i1", "$.candidates"),
        ([1, 2], "$.candidates[0]"),
        ([["i1"]], "$.candidates[0]"),
        ({"item_id": "i1"}, "$.candidates[...]"),
        ({"item_id": None}, "$.candidates[...]"),
        ([], "at least one is needed"),
        ({}, "'item_id' is missing"),
        ({"item_id": []}, "at least one is needed"),
        (["i1", "i2", "i1"], "'i1' is named twice"),
        ({"item_id": ["i1", "i1"]}, "'i1' is named twice"),
        ([{"item_id": 7}], "candidate 0: 'item_id' must be text"),
        ([{"price": 7}], "candidate 0: 'item_id' must be text"),
        ({"item_id": ["i1", 2]}, "candidate 1: 'item_id' must be text"),
        ({"item_id": ["i1"], "price": [1, 2]}, "'price' has 2 values, and 'item_id' has 1"),
        (["i1", {"item_id": "i2"}], "all must be ids, or all must be objects"),
        ([{"item_id": "i2"}, "i1"], "all must be ids, or all must be objects"),
        ([{"item_id": "i1"}, {"item_id": "i2", "price": "much"}], "feature 'price', value 1"),
        ([{"item_id": "i1", "text": [1, 2]}], "feature 'text', value 0: expected a list of 4 numbers"),
        ({"item_id": ["i1"], "category": [["c1"]]}, "feature 'category', value 0"),
    ],
)
def test_wrong_candidates_are_refused_and_the_message_says_where(
    client: TestClient, candidates: Any, said: str
) -> None:
    assert said in refusal(client, candidates=candidates)


def test_candidates_are_required(client: TestClient) -> None:
    assert "`candidates`" in refused(client.post(RANK, json={}), "invalid_input")


@pytest.mark.parametrize(
    "fields",
    [
        {"user": {"device": "phone"}},
        {"user": {"age": 24}},
        {"context": {"price": 1}},
        {"candidates": [{"item_id": "i1", "segment": "1"}]},
        {"candidates": {"item_id": ["i1"], "colour": ["red"]}},
    ],
)
def test_a_feature_of_no_such_side_is_unknown(client: TestClient, fields: dict[str, Any]) -> None:
    assert "there are: " in refusal(client, "unknown_feature", **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"user": None},
        {"user": []},
        {"user": {"user_id": 1}},
        {"user": {"user_id": ["u1"]}},
        {"user": {"history": "i1"}},
        {"user": {"segment": {}}},
        {"context": "phone"},
        {"context": {"device": 1.5}},
        {"unheard_of": 1},
    ],
)
def test_wrong_fields_are_refused(client: TestClient, fields: dict[str, Any]) -> None:
    assert refusal(client, **fields)


def test_as_many_candidates_as_the_settings_allow(client: TestClient) -> None:
    limit = client.app.state.service.settings.max_candidates  # type: ignore[attr-defined]
    ids = [f"n{number}" for number in range(limit + 1)]
    assert len(rank(client, ids[:-1]).unknown_items) == limit
    response = client.post(RANK, json={"candidates": ids})
    assert "10,001 are too many" in refused(response, "invalid_input")
    assert response.json()["error"]["details"]["max_candidates"] == limit


def test_an_unknown_model_is_not_found_whatever_the_body(client: TestClient) -> None:
    for content in (b'{"candidates": ["i1"]}', b"{", b""):
        assert "'movies'" in refused(client.post("/v1/models/movies/rank", content=content), "unknown_model")


def test_what_late_answers_take_is_learned_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> object:
        raise DeadlineExceeded("planted")

    admission = client.app.state.hot._registry.engine.admission  # type: ignore[attr-defined]
    before = admission.request_seconds
    monkeypatch.setattr(hot, "finish", late)
    refusal(client, "deadline_exceeded")
    assert admission.request_seconds != before
