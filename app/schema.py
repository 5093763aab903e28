"""What a model eats, feature by feature.

One FeatureSchema drives everything that must agree: training, encoding, the graph's inputs, the validation of
requests and the docs of a model. A feature has a side, which says how often it occurs in a request (user and
context once, item once per candidate), and a kind, which says what its values are.

Every kind of id shares one convention: index 0 means "none or unknown" (out of vocabulary, padding), so the known
ids start at 1.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FEATURE_NAME = r"^[a-z][a-z0-9_]{0,63}$"
ROW_REQUEST = "row_request"
SCORE = "score"


class Side(StrEnum):
    """Whose feature it is: user and context values come once per request, item values once per candidate."""

    USER = "user"
    CONTEXT = "context"
    ITEM = "item"


class _Feature(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=FEATURE_NAME, description="The feature's name, as requests and data sets use it."
    )
    side: Side = Field(description="user, context or item.")
    description: str = Field(default="", description="One line for the docs of the model.")

    @property
    def per_candidate(self) -> bool:
        """Whether the feature has a value for each candidate (otherwise one for each request)."""
        return self.side is Side.ITEM


class _IdFeature(_Feature):
    encoding: Literal["vocabulary", "hash"] = Field(
        default="vocabulary", description="Known ids by a vocabulary, or all ids hashed into `buckets`."
    )
    buckets: int | None = Field(
        default=None, ge=2, le=2**31, description="Number of buckets of a hashed feature."
    )
    min_count: int = Field(
        default=1, ge=1, description="Rarer ids in the training rows are out of vocabulary."
    )

    @model_validator(mode="after")
    def _buckets_go_with_hash(self) -> Self:
        if (self.encoding == "hash") != (self.buckets is not None):
            raise ValueError(
                f"feature {self.name!r}: `buckets` goes with encoding = 'hash', and only with it"
            )
        return self


class CategoricalFeature(_IdFeature):
    """One id. Graph input: int64 [rows]."""

    kind: Literal["categorical"] = "categorical"


class MultiFeature(_IdFeature):
    """Several ids at once, such as genres. Graph input: int64 [rows, max_length], padded with 0."""

    kind: Literal["multi"] = "multi"
    max_length: int = Field(ge=1, le=4096, description="Most ids used; further ones are dropped.")
    separator: str | None = Field(
        default=None, min_length=1, description="Splits the value in a text column."
    )


class HistoryFeature(_Feature):
    """The user's last items, newest last. Graph input: int64 [requests, max_length], padded with 0.

    It shares the vocabulary and the embedding table of the item feature `of`.
    """

    kind: Literal["history"] = "history"
    of: str = Field(description="The categorical item feature whose ids the history holds.")
    max_length: int = Field(ge=1, le=4096, description="Most items used; older ones are dropped.")


class NumberFeature(_Feature):
    """A number, normalized. Graph input: float32 [rows]."""

    kind: Literal["number"] = "number"
    transform: Literal["none", "standardize", "log1p"] = Field(
        default="standardize", description="log1p takes log(1 + x) of x >= 0 first; both then standardize."
    )


class VectorFeature(_Feature):
    """A dense vector made elsewhere (text, image). Graph input: float32 [rows, dimension]."""

    kind: Literal["vector"] = "vector"
    dimension: int = Field(ge=1, le=8192, description="Length of the vector.")


Feature = Annotated[
    CategoricalFeature | MultiFeature | HistoryFeature | NumberFeature | VectorFeature,
    Field(discriminator="kind"),
]


class FeatureSchema(BaseModel):
    """The features of a model and which of them are the ids of the user and of the item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[Feature, ...] = Field(
        min_length=1, description="All features; their order is the input order."
    )
    user_key: str = Field(default="user_id", description="Name of the user's raw id in requests and data.")
    item_key: str = Field(default="item_id", description="Name of the item's raw id in requests and data.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [feature.name for feature in self.features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"feature names must be unique; repeated: {', '.join(repeated)}")
        if reserved := {ROW_REQUEST, SCORE} & set(names):
            raise ValueError(f"these names are reserved for the graph: {', '.join(sorted(reserved))}")
        if not self.item_features:
            raise ValueError("a ranking model needs at least one feature of side 'item'")
        for feature in self.features:
            self._check_roles(feature)
        return self

    def _check_roles(self, feature: Feature) -> None:
        wanted = {self.user_key: Side.USER, self.item_key: Side.ITEM}.get(feature.name)
        if wanted is not None and (feature.side is not wanted or not isinstance(feature, CategoricalFeature)):
            raise ValueError(
                f"feature {feature.name!r} is a key: it must be categorical and of side '{wanted}'"
            )
        if isinstance(feature, HistoryFeature):
            if feature.side is not Side.USER:
                raise ValueError(f"history {feature.name!r} must be of side 'user'")
            target = next((other for other in self.features if other.name == feature.of), None)
            if not (isinstance(target, CategoricalFeature) and target.side is Side.ITEM):
                raise ValueError(
                    f"history {feature.name!r}: `of` must name a categorical feature of side 'item', "
                    f"not {feature.of!r}"
                )

    def __getitem__(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)

    def of_side(self, *sides: Side) -> tuple[Feature, ...]:
        """The features of the given sides, in schema order."""
        return tuple(feature for feature in self.features if feature.side in sides)

    @property
    def request_features(self) -> tuple[Feature, ...]:
        """User and context features: one value per request."""
        return self.of_side(Side.USER, Side.CONTEXT)

    @property
    def item_features(self) -> tuple[Feature, ...]:
        """Item features: one value per candidate."""
        return self.of_side(Side.ITEM)

    @property
    def tables(self) -> tuple[CategoricalFeature | MultiFeature, ...]:
        """The features that own an embedding table (a history shares the table of the feature it is `of`)."""
        return tuple(f for f in self.features if isinstance(f, CategoricalFeature | MultiFeature))


def trailing_shape(feature: Feature) -> tuple[int, ...]:
    """The shape of one encoded value: () for an id or a number, (max_length,) for lists, (dimension,) for vectors."""
    match feature:
        case MultiFeature() | HistoryFeature():
            return (feature.max_length,)
        case VectorFeature():
            return (feature.dimension,)
        case _:
            return ()


def is_id(feature: Feature) -> bool:
    """Whether the encoded value is made of int64 indices (otherwise of float32 numbers)."""
    return isinstance(feature, CategoricalFeature | MultiFeature | HistoryFeature)
