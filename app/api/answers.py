"""The answers of the API as OpenAPI describes them; tests hold real answers against these types."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.policy import ShownPolicy


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Answer):
    """What went wrong."""

    code: str = Field(description="For programs; docs/api.md lists them.", examples=["unknown_model"])
    message: str = Field(description="For people.", examples=["there is no model 'movies'"])
    details: dict[str, Any] = Field(description="Small facts.", examples=[{"model": "movies"}])


class ErrorAnswer(_Answer):
    """The one form of every error."""

    error: Error


class Item(_Answer):
    """One ranked candidate."""

    item_id: str = Field(examples=["50"])
    score: float = Field(ge=0, le=1, examples=[0.8123])
    rank: int = Field(ge=1, description="Counts from 1, the best.")
    display: dict[str, Any] = Field(
        description="What the catalog shows of the item.", examples=[{"title": "Star Wars"}]
    )


class TimingMs(_Answer):
    """Milliseconds spent in each stage."""

    encode: float
    queue: float
    infer: float
    total: float


class RankResponse(_Answer):
    """A ranking, best first."""

    request_id: str
    model: str = Field(examples=["movielens"])
    variant: str = Field(examples=["student"])
    version: str
    degraded: bool = Field(description="Whether something else than the policy's first choice answered.")
    degraded_reason: str | None
    items: list[Item]
    unknown_items: list[str] = Field(
        description="Candidates that the catalog does not have; they are not ranked."
    )
    unknown_user: bool = Field(description="Whether the features of an unknown user were used.")
    timing_ms: TimingMs


class ModelSummary(_Answer):
    """One model in the list."""

    name: str
    title: str
    description: str
    ready: bool = Field(description="Whether it answers requests.")
    variants: list[str] = Field(description="Names of the loaded variants.")
    policy: ShownPolicy


class ModelList(_Answer):
    """All models."""

    models: list[ModelSummary]


class CatalogSize(_Answer):
    """How much the catalog knows."""

    items: int
    users: int


class ModelDetail(ModelSummary):
    """One model."""

    user_key: str | None = Field(description="Name of the user's id in `user`.")
    item_key: str | None = Field(description="Name of the item's id in candidates.")
    features: list[dict[str, Any]] = Field(description="The features, as the model card describes them.")
    catalog: CatalogSize | None
    revision: int = Field(description="Grows with every change of what is active.")
    follows_card: bool = Field(
        description="Whether the policy is the model card's, not one that an admin set."
    )
    can_roll_back: bool


class VariantDetail(_Answer):
    """One published variant."""

    name: str
    version: str
    parent: str | None = Field(description="`variant/version` that it was made from.")
    recipe: dict[str, Any] | None = Field(description="Every step with its settings.")
    active: bool
    verdict: Literal["baseline", "passed", "rejected"]
    reason: str
    report: dict[str, Any] = Field(description="Quality, agreement, size, latency and the machine.")


class VariantList(_Answer):
    """All published variants of a model, the baseline first."""

    variants: list[VariantDetail]
    unreadable: dict[str, str] = Field(
        description="By name, why a variant's manifest or report cannot be read; `active.json`: why the active state."
    )


class ActiveState(_Answer):
    """What is active now."""

    model: str
    revision: int
    versions: dict[str, str] = Field(description="The active version of each variant.")
    policy: ShownPolicy
    follows_card: bool = Field(
        description="Whether the policy is the model card's, not one that an admin set."
    )
    can_roll_back: bool


class JobAnswer(_Answer):
    """One compression job; docs/api.md describes each field."""

    id: str
    model: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    recipes: list[str] | None
    recipe: dict[str, Any] | None
    force: bool
    step: str
    progress: float = Field(ge=0, le=1)
    log: list[str]
    result: dict[str, Any] | None
    not_loaded: dict[str, str] = Field(
        default={}, description="Why what it made cannot be loaded by the worker that answers, by variant."
    )
    error: str | None
    attempts: int
    cancel_requested: bool
    created_unix_seconds: float
    started_unix_seconds: float | None
    finished_unix_seconds: float | None


class JobList(_Answer):
    """The newest jobs, newest first."""

    jobs: list[JobAnswer]


class Live(_Answer):
    """The process runs."""

    status: Literal["live"] = "live"


class ModelReadiness(_Answer):
    """What of a model is loaded."""

    ready: bool
    loaded: dict[str, str] = Field(description="Version of each loaded variant.")
    missing: str | None = Field(description="What the model cannot answer for.")
    failures: dict[str, str] = Field(description="Why active versions could not be loaded.")


class Readiness(_Answer):
    """Whether the service can answer for every model."""

    status: Literal["ready", "not_ready", "draining"]
    models: dict[str, ModelReadiness]
