"""Refusals before a body is read: only what would be refused anyway, and only while others are."""

import asyncio
import json
import time
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from app.errors import DeadlineExceeded, Overloaded
from app.serving import admission
from app.serving.early import check_unread, check_wanted
from app.serving.loaded import LoadedModel
from app.serving.query import Query
from app.serving.ranker import begin, score

from tests.clocks import keep_load
from tests.serving.store_changes import running
from tests.small_model import NAME, SmallModel

IDS = [f"i{n}" for n in range(40)]
BODY = {"candidates": IDS}


@pytest.fixture(autouse=True)
def overload(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, the refusal was a moment ago."""
    monkeypatch.setattr(admission, "_SHEDS_SECONDS", 3600.0)


def in_overload(small: SmallModel, check: Any) -> None:
    """Let `check` look at a model whose queue is full, and which has refused a request for that."""

    async def scene() -> None:
        async with running(small, max_queue=3) as one:
            model = one.registry.get(NAME)
            model.load.note_size(len(IDS), len(_bytes(BODY)))
            check_unread(model, _bytes(BODY), time.perf_counter(), 1e4)  # nothing is refused at rest
            for _ in range(3):
                score(begin(model, Query({}, {}, IDS)), lambda _: None, lambda: False)
            check_unread(model, _bytes(BODY), time.perf_counter(), 1e4)
            with pytest.raises(Overloaded):
                begin(model, Query({}, {}, IDS))
            check(model)

    asyncio.run(asyncio.wait_for(scene(), 60))


def _bytes(body: object) -> bytes:
    return json.dumps(body).encode()


def refuses(model: LoadedModel, body: bytes, deadline_ms: float = 1e4) -> bool:
    try:
        check_unread(model, body, time.perf_counter(), deadline_ms)
    except Overloaded:
        return True
    return False


def test_a_request_is_refused_unread_while_others_are(
    small: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(model: LoadedModel) -> None:
        keep_load(monkeypatch, model.load)
        before = model.load.utilization(model.variants["baseline"].lane.cost.seconds, 1.0)
        for body in (
            BODY,
            BODY | {"deadline_ms": 5000},
            BODY | {"deadline_ms": 5000.25, "variant": "baseline", "k": 3},
            BODY | {"variant": "auto"},
        ):
            assert refuses(model, _bytes(body)), body
        # It is load all the same: else the ladder would step up.
        assert model.load.utilization(model.variants["baseline"].lane.cost.seconds, 1.0) > before

    in_overload(small, check)


@pytest.mark.parametrize(
    "body",
    [
        _bytes(BODY | {"deadline_ms": "soon"}),
        _bytes(BODY | {"deadline_ms": 1e-9}),
        _bytes(BODY | {"deadline_ms": -5}),
        _bytes(BODY | {"user": {"deadline_ms": 5}, "deadline_ms": 7000}),
        _bytes(BODY | {"variant": "nope"}),
        _bytes(BODY | {"variant": 7}),
        _bytes(BODY | {"variant": 'a"b'}),
        b'{"variant": "baseline", "variant": "auto"}',
    ],
)
def test_what_is_not_plain_is_read(small: SmallModel, body: bytes) -> None:
    in_overload(small, lambda model: _assert_not(refuses(model, body)))


def test_what_an_idle_worker_could_not_do_in_time_is_told_so(small: SmallModel) -> None:
    """Admission answers it with 504, not with 429."""
    in_overload(small, lambda model: _assert_not(refuses(model, _bytes(BODY), deadline_ms=1e-6)))


@pytest.mark.parametrize("name", ["deadline_ms", "variant"])
def test_a_name_that_a_feature_has_too_tells_nothing(small: SmallModel, name: str) -> None:
    body = _bytes({"user": {name: "baseline" if name == "variant" else 1e4}} | BODY)

    def check(model: LoadedModel) -> None:
        assert refuses(model, body)
        assert not refuses(_with_feature(model, name), body)
        assert refuses(_with_feature(model, name), _bytes(BODY)), "it does not occur in this one"

    in_overload(small, check)


def test_the_deadline_of_a_large_body_is_not_a_feature_of_that_name(small: SmallModel) -> None:
    body = _bytes({"context": {"deadline_ms": 5}} | BODY)

    def check(model: LoadedModel) -> None:
        long_ago = time.perf_counter() - 1
        with pytest.raises(DeadlineExceeded):
            check_wanted(model, body, long_ago, 1e4)
        check_wanted(_with_feature(model, "deadline_ms"), body, long_ago, 1e4)

    in_overload(small, check)


def test_every_name_that_a_request_may_bring_is_known(small: SmallModel) -> None:
    def check(model: LoadedModel) -> None:
        assert model.any_reader is not None
        assert {"user_id", "segment", "device", "item_id", "price"} <= model.any_reader.names

    in_overload(small, check)


def test_a_name_within_a_text_is_none(small: SmallModel) -> None:
    odd = _bytes({"candidates": ['a "deadline_ms": 0.001, "variant": "nope", ', *IDS]})
    in_overload(small, lambda model: _assert(refuses(model, odd)))


def _with_feature(model: LoadedModel, name: str) -> LoadedModel:
    """The same model, were there a feature of that name."""
    variants = {}
    for key, variant in model.variants.items():
        reader = copy(variant.reader)
        reader.names |= {name}
        variants[key] = replace(variant, reader=reader)
    return replace(model, variants=variants)


def _assert(one: bool) -> None:
    assert one


def _assert_not(one: bool) -> None:
    assert not one
