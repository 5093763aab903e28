"""What the bodies of the two hot requests may hold: decoded with msgspec, described in OpenAPI by the same types."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Values = Annotated[dict[str, Any], Meta(description="Values by the name of the feature.")]
K = Annotated[int, Meta(ge=1, le=1_000_000)]
Variant = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        description="`auto` follows the model's policy; a name asks for that variant.",
    ),
]
DeadlineMs = Annotated[
    float,
    Meta(gt=0, le=3_600_000, description="Drop the request when it is not scored within these milliseconds."),
]


class RankRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which candidates to rank, for whom."""

    candidates: Annotated[
        list[str | dict[str, Any]] | dict[str, list[Any]],
        Meta(description="Ids, or an object for each candidate, or a list for each feature."),
    ]
    user: Values = {}
    context: Values = {}
    k: Annotated[K | None, Meta(description="How many of the best to return; without it, all.")] = None
    variant: Variant = "auto"
    deadline_ms: DeadlineMs | None = None


class RankIds(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A RankRequest whose candidates are ids and nothing else: the usual case, and its types are checked in C."""

    candidates: list[str]
    user: dict[str, Any] = {}
    context: dict[str, Any] = {}
    k: K | None = None
    variant: Variant = "auto"
    deadline_ms: DeadlineMs | None = None


class RecommendRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """For whom to rank the whole catalog."""

    user: Values = {}
    context: Values = {}
    k: Annotated[K, Meta(description="How many of the best to return.")] = 10
    variant: Variant = "auto"
    deadline_ms: DeadlineMs | None = None
    exclude: Annotated[list[str], Meta(max_length=100_000, description="Ids of items to leave out.")] = []
    exclude_seen: Annotated[
        bool, Meta(description="Leave out what the user has interacted with already.")
    ] = True
