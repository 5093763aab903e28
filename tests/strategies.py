"""Hypothesis strategies for schemas, encoders and whatever a JSON body may hold."""

from typing import Any

from app.encoding import Encoder, Scale
from app.schema import CategoricalFeature, FeatureSchema, MultiFeature, NumberFeature
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"user_id", "item_id", "row_request", "score"}
)
# The first half of a surrogate pair without the other: JSON can spell it ("\ud800"), UTF-8 cannot.
TEXTS = st.text(max_size=8) | st.sampled_from(["", "\ud800", "i1", "1", "|", "war|drama", "\x00"])
NUMBERS = (
    st.floats()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 1e308, -1e308, 1e39, 5e-324, -0.0, 2**63, -1])
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=6,
)


def _ids(kind: str, **rest: Any) -> st.SearchStrategy[dict[str, Any]]:
    vocabulary = st.fixed_dictionaries({"min_count": st.integers(1, 5)})
    hashed = st.fixed_dictionaries({"encoding": st.just("hash"), "buckets": st.integers(2, 2**31)})
    more = st.fixed_dictionaries({"kind": st.just(kind), **rest})
    return st.builds(lambda one, other: one | other, vocabulary | hashed, more)


LENGTHS = st.integers(1, 6)
KINDS = st.one_of(
    _ids("categorical"),
    _ids("multi", max_length=LENGTHS, separator=st.none() | st.sampled_from(["|", ", "])),
    st.fixed_dictionaries(
        {"kind": st.just("number"), "transform": st.sampled_from(["none", "standardize", "log1p"])}
    ),
    st.fixed_dictionaries({"kind": st.just("vector"), "dimension": LENGTHS}),
)


@st.composite
def schemas(draw: st.DrawFn) -> FeatureSchema:
    """An item id, a history of it, and up to five other features."""
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    features: list[dict[str, Any]] = [draw(_ids("categorical")) | {"name": "item_id", "side": "item"}]
    history = {"kind": "history", "of": "item_id", "side": "user", "max_length": draw(LENGTHS)}
    features.append(history | {"name": names[0]})
    features += [
        draw(KINDS) | {"name": name, "side": draw(st.sampled_from(["user", "context", "item"]))}
        for name in names[1:]
    ]
    return FeatureSchema.model_validate({"features": draw(st.permutations(features))})


@st.composite
def encoders(draw: st.DrawFn) -> Encoder:
    """A schema with whatever could have been fitted for it."""
    schema = draw(schemas())
    ids = st.lists(st.text(min_size=1, max_size=8), max_size=6, unique=True)
    deviations = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
    scales = st.builds(Scale, st.floats(allow_nan=False, allow_infinity=False), deviations)
    return Encoder(
        schema,
        {
            feature.name: draw(ids)
            for feature in schema.features
            if isinstance(feature, CategoricalFeature | MultiFeature) and feature.buckets is None
        },
        {
            feature.name: draw(scales)
            for feature in schema.features
            if isinstance(feature, NumberFeature) and feature.transform != "none"
        },
    )
