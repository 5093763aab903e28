"""What a technique is, and how the techniques of this project are found.

A technique is one file in app/compression/techniques/ that ends in `TECHNIQUE = Technique(...)`: a frozen
configuration and a function from model to model. Recipes, the command line, the docs and the contract suite find it
by walking that folder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from app.compression import techniques as _folder
from app.compression.workshop import Workshop
from app.errors import ConfigurationError
from app.model_card import ModelCard, explain
from app.plugins import parts_of

Stage = Literal["module", "graph"]


class TechniqueConfig(BaseModel):
    """Base of every technique's configuration: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Misfit(NamedTuple):
    """Why a technique has nothing to do for a model, as far as the model's card tells."""

    field: str
    """The field of the step, or of the card, that says so."""
    reason: str
    """Half a sentence."""


def no_misfit(config: Any, card: ModelCard) -> Misfit | None:  # noqa: ARG001  (the shape that `misfit` has)
    """The card alone cannot tell: the technique sees when it is applied."""
    return None


def no_change(config: Any, card: ModelCard) -> ModelCard:  # noqa: ARG001
    """What the step makes is of the same kind as what it is given."""
    return card


def without_tables(config: Any, card: ModelCard) -> Misfit | None:  # noqa: ARG001
    """For a technique of embedding tables: a model whose schema has none."""
    if card.features.tables:
        return None
    return Misfit("[schema]", "it acts on embedding tables, and no feature is categorical or multi")


@dataclass(frozen=True)
class Technique:
    """A way to make a model smaller or faster.

    `apply(model, config, workshop)` gives a new model and leaves its argument as it was: an `nn.Module` to an
    `nn.Module` where `stage` is "module", an `onnx.ModelProto` to an `onnx.ModelProto` where it is "graph".
    """

    name: str
    stage: Stage
    config: type[TechniqueConfig]
    apply: Callable[[Any, Any, Workshop], Any]
    summary: str
    """One sentence for the docs."""
    source: str
    """The paper or specification it follows."""
    needs_rows: bool
    """Whether it cannot work without training rows."""
    misfit: Callable[[Any, ModelCard], Misfit | None] = no_misfit
    """From a step's configuration and the model's card to what stands against it, before any work begins."""
    changes: Callable[[Any, ModelCard], ModelCard] = no_change
    """From both to the card of what the step makes, which later steps are held against."""

    def configure(self, values: Mapping[str, Any], where: str) -> TechniqueConfig:
        """Validate a step's settings. Raises ConfigurationError that begins with `where` and names the field."""
        try:
            return self.config.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigurationError(f"{where} ({self.name}): {explain(error)}") from error


@cache
def techniques() -> Mapping[str, Technique]:
    """Every technique by name."""
    return parts_of(_folder, "TECHNIQUE")
