"""Whatever bytes come as a body: the answer is right, or an error that says what is wrong with them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from app.api.answers import ActiveState, JobAnswer
from fastapi.testclient import TestClient

from tests.api.checks import ADMIN, RANK, RECOMMEND, answered, error_of, ranking_of, refused, serving
from tests.small_model import NAME, SmallModel

ACTIVATE = f"/admin/models/{NAME}/activate"
COMPRESS = f"/admin/models/{NAME}/compress"
TAKING_A_BODY = (RANK, RECOMMEND, ACTIVATE, COMPRESS)
LIMIT = 4096

NOT_JSON = {
    "nothing": b"",
    "blank": b"  \n",
    "a word": b"hello",
    "cut off": b'{"user": {"user_id"',
    "two bodies": b"{} {}",
    "a form": b"user=1&candidates=i1",
    "single quotes": b"{'user': {}}",
    "a trailing comma": b'{"user": {},}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"user": {}}'.encode("utf-16"),
    "not UTF-8": b'{"variant": "\xff\xfe"}',
    "half a pair": b'{"variant": "\\ud800"}',
    "half a pair as a name": b'{"\\udc00": 1}',
    "a control character": b'{"variant": "a\x00b"}',
    "NaN": b'{"variant": NaN}',
    "Infinity": b'{"variant": -Infinity}',
    "nested": b"[" * 100_000,
    "nested in a field": b'{"user": {"segment": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "nested objects": b'{"user": ' * 50_000 + b"1" + b"}" * 50_000,
}
NOT_AN_OBJECT = {"null": b"null", "a list": b"[]", "text": b'"text"', "a number": b"1", "true": b"true"}
UNKNOWN_FIELD = {
    "an unknown field": b'{"unheard_of": 1}',
    "an unknown field of a field": b'{"policy": {"x": 1}}',
}


@pytest.mark.parametrize("path", TAKING_A_BODY)
@pytest.mark.parametrize(
    "content", [*NOT_JSON.values(), *NOT_AN_OBJECT.values()], ids=[*NOT_JSON, *NOT_AN_OBJECT]
)
def test_what_is_not_a_json_object_is_refused(client: TestClient, path: str, content: bytes) -> None:
    message = refused(client.post(path, content=content, headers=ADMIN), "invalid_input")
    assert message.startswith("the body")
    assert len(message) < 1100


@pytest.mark.parametrize("path", TAKING_A_BODY)
@pytest.mark.parametrize("content", UNKNOWN_FIELD.values(), ids=UNKNOWN_FIELD)
def test_unknown_fields_are_refused(client: TestClient, path: str, content: bytes) -> None:
    refused(client.post(path, content=content, headers=ADMIN), "invalid_input")


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "nonsense", "", None]
)
def test_a_body_is_json_whatever_its_type_says(own: TestClient, kind: str | None) -> None:
    headers = ADMIN if kind is None else ADMIN | {"Content-Type": kind}
    assert ranking_of(own.post(RANK, content=b'{"candidates": ["i1"]}', headers=headers)).items
    assert ranking_of(own.post(RECOMMEND, content=b"{}", headers=headers)).items
    answered(own.post(ACTIVATE, content=b'{"policy": {"kind": "ladder"}}', headers=headers), ActiveState)
    answered(own.post(COMPRESS, content=b"{}", headers=headers), JobAnswer, 202)


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1e308", "-1e308", "9" * 400, "9" * 5000, "1e-400", "-0.0"]
)
def test_no_number_breaks_a_ranking(client: TestClient, number: str) -> None:
    for candidates in (
        '[{"item_id": "i1", "price": %s}, {"item_id": "i2"}]',
        '{"item_id": ["i1"], "text": [[%s, 1, 1, 1]]}',
        '[{"item_id": "i1", "category": %s}]',
    ):
        content = '{"variant": "baseline", "candidates": ' + candidates % number + "}"
        response = client.post(RANK, content=content)
        if response.status_code == 200:
            assert ranking_of(response).items
        else:
            refused(response, "invalid_input")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_recipe_keeps_its_numbers_or_is_refused(own: TestClient, number: str) -> None:
    for step in ('"keep": %s', '"keep": [{"deep": %s}]'):
        content = (
            '{"recipe": {"name": "mine", "steps": [{"technique": "prune_neurons", ' + step % number + "}]}}"
        )
        assert "finite" in refused(own.post(COMPRESS, content=content, headers=ADMIN), "invalid_input")
    fine = {"name": "mine", "steps": [{"technique": "prune_neurons", "keep": 1e308, "n": 10**30}]}
    job = answered(own.post(COMPRESS, json={"recipe": fine}, headers=ADMIN), JobAnswer, 202)
    assert job.recipe is not None
    assert job.recipe["steps"] == fine["steps"]


def test_of_a_name_that_comes_twice_the_last_one_counts(client: TestClient) -> None:
    found = ranking_of(client.post(RANK, content=b'{"candidates": ["i1"], "candidates": ["i2"]}'))
    assert [one.item_id for one in found.items] == ["i2"]
    found = ranking_of(client.post(RANK, content=b'{"candidates": [{"item_id": "i1", "item_id": "i2"}]}'))
    assert [one.item_id for one in found.items] == ["i2"]


def test_ids_of_every_script_come_back_as_they_were_sent(client: TestClient) -> None:
    ids = ["", " ", "\x00", "\x7f", "日本", "\U0001f600", "e\u0301", "\u202e", '"\\', "i1 ", "I1", "\ufffe"]
    for candidates in (ids, [{"item_id": one, "price": 1} for one in ids]):
        found = ranking_of(client.post(RANK, json={"candidates": candidates}))
        assert [*found.unknown_items, *(one.item_id for one in found.items)] == ids


@pytest.mark.parametrize("escaped", ['"\\ud800"', '"\\udc00\\ud800"', '"i1\\ud83d"'])
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(client: TestClient, escaped: str) -> None:
    for content in (
        f'{{"candidates": [{escaped}]}}',
        f'{{"candidates": [{{"item_id": {escaped}, "price": 1}}]}}',
        f'{{"candidates": [{{"item_id": "i1", {escaped}: 1}}]}}',
        f'{{"candidates": {{"item_id": ["i1"], {escaped}: [1]}}}}',
        f'{{"user": {{"user_id": {escaped}}}, "candidates": ["i1"]}}',
        f'{{"context": {{"device": {escaped}}}, "candidates": ["i1"]}}',
        f'{{"candidates": ["i1"], {escaped}: 1}}',
    ):
        refused(client.post(RANK, content=content), "invalid_input")
    content = f'{{"recipe": {{"name": "mine", "steps": [{{"technique": {escaped}}}]}}}}'
    refused(client.post(COMPRESS, content=content, headers=ADMIN), "invalid_input")


@pytest.fixture(scope="module")
def narrow(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that takes no more than 4096 bytes."""
    with serving(small_model.copy(tmp_path_factory.mktemp("narrow")), max_body_bytes=LIMIT) as one:
        yield one


def body_of(size: int, **fields: Any) -> bytes:
    """A body of exactly that many bytes."""
    return json.dumps(fields).encode().ljust(size)


def in_chunks(content: bytes) -> Iterator[bytes]:
    """Sent without saying beforehand how long it is."""
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


@pytest.mark.parametrize("path", TAKING_A_BODY)
def test_a_body_above_the_limit_is_refused_however_it_is_sent(narrow: TestClient, path: str) -> None:
    content = body_of(LIMIT + 1)
    for sent in (content, in_chunks(content)):
        response = narrow.post(path, content=sent, headers=ADMIN)
        assert "4,096 bytes" in refused(response, "body_too_large")
        assert response.headers["connection"] == "close"
        assert error_of(response)["details"] == {"max_body_bytes": LIMIT}


def test_a_body_of_exactly_the_limit_is_taken(narrow: TestClient) -> None:
    content = body_of(LIMIT, candidates=["i1"])
    assert len(content) == LIMIT
    for sent in (content, in_chunks(content)):
        assert ranking_of(narrow.post(RANK, content=sent)).items


def test_a_length_above_the_limit_is_refused_before_the_body_and_the_key_are_read(narrow: TestClient) -> None:
    for length in ("4097", "9" * 30, "9" * 5000, "0" * 5000 + "4097"):
        response = narrow.post(ACTIVATE, content=b"{}", headers={"Content-Length": length})
        refused(response, "body_too_large")
