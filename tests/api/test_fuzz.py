"""Whatever is asked: a right answer or an error in the one form, never a fault of the service."""

import json
from typing import Any

import httpx2
from app.api.answers import RankResponse
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.api.bodies import KNOWN, RIGHT_RANK, RIGHT_RECOMMEND, bytes_of
from tests.api.checks import ADMIN, RANK, RECOMMEND, error_of, ranking_of
from tests.small_model import NAME
from tests.strategies import JSON_VALUES

# The service is shared by all examples, and keeps nothing of them.
shared = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
fewer = settings(shared, max_examples=100)
# 5xx that a client can ask for: a deadline too short to keep.
ALLOWED = {"invalid_input", "unknown_feature", "unknown_variant", "deadline_exceeded"}


def answer_or_error(response: httpx2.Response) -> RankResponse | None:
    if response.status_code == 200:
        return ranking_of(response)
    assert error_of(response)["code"] in ALLOWED
    return None


def ids_of(candidates: Any) -> list[str]:
    if isinstance(candidates, dict):
        ids: list[str] = candidates["item_id"]
        return ids
    return [one["item_id"] if isinstance(one, dict) else one for one in candidates]


def may_be_ranked(candidates: Any) -> set[str]:
    """The candidates that the catalog has, or that bring features of their own."""
    ids, brought = ids_of(candidates), {}
    for position, one in enumerate(ids):
        if isinstance(candidates, dict):
            own = [values[position] for name, values in candidates.items() if name != "item_id"]
        elif isinstance(candidates[position], dict):
            own = [value for name, value in candidates[position].items() if name != "item_id"]
        else:
            own = []
        brought[one] = any(value is not None for value in own)
    return {one for one in ids if one in KNOWN or brought[one]}


@shared
@given(content=bytes_of(RIGHT_RANK))
@example(content=b'{"candidates": ["i1", "\\ud800"]}')
@example(content=b'{"candidates": [{"item_id": "i1", "price": 1e308}]}')
def test_no_body_breaks_rank(client: TestClient, content: bytes) -> None:
    answer_or_error(client.post(RANK, content=content))


@shared
@given(content=bytes_of(RIGHT_RECOMMEND))
@example(content=b'{"user": {"history": [1e400]}}')
def test_no_body_breaks_recommend(client: TestClient, content: bytes) -> None:
    answer_or_error(client.post(RECOMMEND, content=content))


@fewer
@given(
    content=st.one_of(
        bytes_of(
            st.fixed_dictionaries(
                {"recipe": st.dictionaries(st.sampled_from(["name", "steps"]), JSON_VALUES)}
            )
        ),
        bytes_of(st.fixed_dictionaries({"version": st.text(max_size=16), "variant": st.text(max_size=4)})),
    ),
    path=st.sampled_from(["activate", "compress"]),
)
def test_no_body_breaks_the_admin_routes(client: TestClient, content: bytes, path: str) -> None:
    response = client.post(f"/admin/models/{NAME}/{path}", content=content, headers=ADMIN)
    if response.status_code == 202:  # nothing but defaults, or a recipe that is right
        client.delete(response.headers["location"], headers=ADMIN)
        return
    assert error_of(response)["code"] in {"invalid_input", "unknown_variant", "unknown_version"}


@shared
@given(body=RIGHT_RANK)
def test_a_right_request_ranks_every_known_candidate(client: TestClient, body: dict[str, Any]) -> None:
    found = answer_or_error(client.post(RANK, json=body))
    assert found is not None
    ranked, given_ids = may_be_ranked(body["candidates"]), ids_of(body["candidates"])
    assert found.unknown_items == [one for one in given_ids if one not in ranked]
    returned = {one.item_id for one in found.items}
    if body.get("k") is None or body["k"] >= len(ranked):
        assert returned == ranked
    else:
        assert len(found.items) == body["k"]
        assert returned <= ranked
    assert found.unknown_user == (body.get("user", {}).get("user_id") not in {"u0", "u1", "u199"})
    assert body.get("variant", "auto") in {"auto", found.variant}
    assert all((one.display != {}) == (one.item_id in KNOWN) for one in found.items)


@fewer
@given(body=RIGHT_RECOMMEND)
def test_a_right_recommendation_is_of_the_catalog_without_what_is_excluded(
    client: TestClient, body: dict[str, Any]
) -> None:
    found = answer_or_error(client.post(RECOMMEND, json=body))
    assert found is not None
    returned = {one.item_id for one in found.items}
    left = {*KNOWN} - {*body.get("exclude", [])}
    assert returned <= left
    assert found.unknown_items == []
    wanted = 10 if body.get("k") is None else body["k"]
    if not body.get("exclude_seen", True) or found.unknown_user:
        assert len(returned) == min(wanted, len(left))
    assert len(returned) <= wanted


@fewer
@given(body=RIGHT_RANK)
def test_equal_requests_get_equal_answers(client: TestClient, body: dict[str, Any]) -> None:
    first, second = (ranking_of(client.post(RANK, content=json.dumps(body))) for _ in range(2))
    assert (first.items, first.variant) == (second.items, second.variant)
