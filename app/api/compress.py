"""POST /admin/models/{model}/compress: queue a compression job."""

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.api.answers import JobAnswer
from app.api.body import described_model, json_body
from app.api.envelope import error_examples
from app.api.security import ADMIN_ERRORS, Admin
from app.api.state import Parts
from app.errors import ActiveCorrupt, InvalidInput, Overloaded, UnknownModel, UnknownRecipe
from app.model_card import VARIANT_NAME, Recipe, explain
from app.plugins import names_in

router = APIRouter(prefix="/admin/models/{model}", tags=["admin"], dependencies=[Admin])
_ERRORS = {
    **ADMIN_ERRORS,
    **error_examples(UnknownModel, UnknownRecipe, InvalidInput, ActiveCorrupt, Overloaded),
}
# Techniques import torch, which serving does without: their names are those of their files.
_TECHNIQUES = names_in(Path(__file__).parents[1] / "compression" / "techniques")

RecipeName = Annotated[str, Field(pattern=VARIANT_NAME)]


class CompressRequest(BaseModel):
    """What to make: everything of the card, some of its recipes, or a recipe that the card does not have."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {},
                {"recipes": ["int8-static"], "force": True},
                {"recipe": {"name": "pruned", "steps": [{"technique": "prune_neurons", "keep": 0.5}]}},
            ]
        },
    )

    recipes: Annotated[list[RecipeName], Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Names of recipes of the card; without them, all."
    )
    recipe: dict[str, Any] | None = Field(default=None, description="A recipe that the card does not have.")
    force: bool = Field(default=False, strict=True, description="Make them even where they are up to date.")

    @model_validator(mode="after")
    def _one_of_them(self) -> "CompressRequest":
        if self.recipes is not None and self.recipe is not None:
            raise ValueError("give `recipes` or `recipe`, not both")
        return self


@router.post("/compress", status_code=202, responses=_ERRORS, openapi_extra=described_model(CompressRequest))
def compress(
    model: str, body: Annotated[CompressRequest, json_body(CompressRequest)], parts: Parts, response: Response
) -> JobAnswer:
    """Queue a job; a compressor takes it up, and workers load what it makes without a dropped request."""
    card = parts.card(model)
    parts.store.active(model)  # damage to it is told now: all that a job could do is fail
    for name in body.recipes or ():
        card.recipe(name)
    recipe = _checked(body.recipe) if body.recipe is not None else None
    if recipe is not None and recipe["name"] in {one.name for one in card.recipes}:
        raise InvalidInput(f"the card has a recipe {recipe['name']!r} already; give this one another name")
    job = parts.queue.submit(model, recipes=body.recipes, recipe=recipe, force=body.force)
    response.headers["Location"] = f"/admin/jobs/{job.id}"
    return JobAnswer.model_validate(msgspec.to_builtins(job))


def _checked(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe, whose form is right and whose techniques exist; their settings are checked by the job."""
    if not _finite(recipe):
        raise InvalidInput("recipe: a number in it is not finite, or too large")
    try:
        checked = Recipe.model_validate(recipe)
    except ValidationError as error:
        raise InvalidInput(f"recipe: {explain(error)}") from error
    for position, step in enumerate(checked.steps, start=1):
        if step["technique"] not in _TECHNIQUES:
            raise InvalidInput(
                f"recipe {checked.name!r}, step {position}: there is no technique {step['technique'][:100]!r}; "
                f"there are: {', '.join(_TECHNIQUES)}"
            )
    return checked.model_dump(mode="json")


def _finite(value: Any) -> bool:
    """Whether every number can be kept in JSON: an infinity, which 1e400 is read as, would become null there."""
    if isinstance(value, dict | list):
        return all(_finite(one) for one in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)
