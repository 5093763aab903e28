"""The policy as people write it, in a model card's [policy] and in requests, and as they are shown it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False, strict=True)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Canary(_Table):
    """A variant that answers a share of the users instead."""

    variant: str = Field(min_length=1, description="The variant that is tried out.", examples=["student"])
    percent: Percent = Field(
        description="Share of the users that it answers, 0 to 100; who is in stays in when it grows.",
        examples=[2.5],
    )


class Shadow(_Table):
    """A variant that also scores a share of the requests, off the hot path."""

    variant: str = Field(
        min_length=1, description="The variant that answers are compared with.", examples=["baseline"]
    )
    percent: Percent = Field(
        description="Share of the requests that it scores as well, 0 to 100.", examples=[1.0]
    )


class ShownPolicy(_Table):
    """How `auto` chooses, as it is shown: whatever serves, even what a person may not write."""

    kind: Literal["ladder", "pinned"] = Field(
        description="`ladder`: the best variant that passed the gate and can keep the deadline. "
        "`pinned`: always `variant`."
    )
    variant: str | None = Field(
        default=None, description="The pinned variant; goes with the kind `pinned`, and only with it."
    )
    canary: Canary | None = Field(default=None, description="A variant that is tried out on some users.")
    shadow: Shadow | None = Field(
        default=None, description="A variant that some answers are compared with, as Prometheus metrics."
    )


class Policy(ShownPolicy):
    """How `auto` chooses, as people write it."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.kind == "pinned") != (self.variant is not None):
            raise ValueError("`policy.variant` goes with the kind 'pinned', and only with it")
        if self.variant is not None and self.canary is not None and self.canary.variant == self.variant:
            raise ValueError(f"`policy.canary` would try out {self.variant[:100]!r}, which is pinned already")
        if self.shadow is not None and self.shadow.variant == self._answers_all():
            raise ValueError(f"`policy.shadow` would compare {self.shadow.variant[:100]!r} with itself")
        return self

    def _answers_all(self) -> str | None:
        """The variant that answers every request, if it is always the same one."""
        if self.canary is not None and self.canary.percent > 0:
            return self.canary.variant if self.canary.percent == 100 else None
        return self.variant

    def variants(self) -> set[str]:
        """Every variant that is named."""
        parts = (self.canary, self.shadow)
        return {one.variant for one in parts if one} | ({self.variant} if self.variant else set())
