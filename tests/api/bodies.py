"""Hypothesis strategies for bodies of ranking requests: right ones, nearly right ones and anything at all."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.api.checks import AN_HOUR_MS
from tests.strategies import JSON_VALUES, TEXTS

KNOWN = [f"i{number}" for number in range(150)]
ITEM_IDS = st.sampled_from(KNOWN) | st.sampled_from(["stranger", "", "日本", "i150", "I1"])
VARIANTS = st.sampled_from(["auto", "baseline", "int8-dynamic", "int8-static"])
SMALL = st.floats(-100, 100, width=32)
USER = {
    "user_id": st.sampled_from(["u0", "u1", "u199", "nobody", ""]),
    "segment": st.sampled_from(["0", "1", "2", "3", "9", 1]),
    "history": st.lists(ITEM_IDS, max_size=8),
}
CONTEXT = {"device": st.sampled_from(["phone", "tablet", "desktop", "television", "toaster"])}
ITEM = {
    "category": st.sampled_from(["c0", "c1", "c19", "new", ""]),
    "price": st.floats(0, 1000) | st.integers(0, 50),
    "text": st.lists(SMALL, min_size=4, max_size=4),
}


def _object(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: st.none() | some for name, some in fields.items()})


_OBJECTS = st.lists(
    st.tuples(ITEM_IDS, _object(ITEM)).map(lambda pair: {"item_id": pair[0], **pair[1]}),
    min_size=1,
    max_size=20,
    unique_by=lambda one: str(one["item_id"]),
)
CANDIDATES = (
    st.lists(ITEM_IDS, min_size=1, max_size=40, unique=True)
    | _OBJECTS
    | _OBJECTS.map(lambda some: {n: [one.get(n) for one in some] for n in ("item_id", "price", "text")})
)
_BOTH = {
    "user": _object(USER),
    "context": _object(CONTEXT),
    "variant": VARIANTS,
    "k": st.integers(1, 200),
    "deadline_ms": st.just(AN_HOUR_MS),
}
RIGHT_RANK = st.fixed_dictionaries({"candidates": CANDIDATES}, optional=_BOTH)
RIGHT_RECOMMEND = st.fixed_dictionaries(
    {}, optional=_BOTH | {"exclude": st.lists(ITEM_IDS, max_size=160), "exclude_seen": st.booleans()}
)


@st.composite
def nearly_right(draw: st.DrawFn, right: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """A right body with a value somewhere in it, or a name, that may be anything."""
    body = json.loads(json.dumps(draw(right)))
    node: Any = body
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if isinstance(node, dict) and draw(st.integers(0, 5)) == 0:
            node[draw(TEXTS | st.sampled_from([*USER, *CONTEXT, *ITEM, "item_id"]))] = draw(JSON_VALUES)
            return body
        if not keys:
            return body
        key = draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or draw(st.booleans()):
            node[key] = draw(JSON_VALUES)
            return body
        node = node[key]


def bytes_of(right: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Bodies as bytes: JSON in Python's loose sense (NaN, lone surrogates), cut JSON, and no JSON at all."""
    content = (nearly_right(right) | JSON_VALUES).map(lambda one: json.dumps(one).encode())
    cut = st.tuples(content, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
    return content | content | content | cut | st.binary(max_size=40)
