"""Distillation: a smaller network learns the scores of the trained one."""

from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import nn

from app.compression.inherit import inherit
from app.compression.teaching import TeachingConfig, teach
from app.compression.technique import Misfit, Technique
from app.compression.workshop import Workshop
from app.model_card import ArchitectureSource, ModelCard, explain
from app.training.architecture import architectures, build


class DistillConfig(TeachingConfig):
    """The student and how it is taught."""

    architecture: str = Field(description="Architecture of the student.")
    config: dict[str, Any] = Field(default_factory=dict, description="The student's own configuration.")
    start: Literal["random", "teacher"] = Field(
        default="random", description="random: new weights; teacher: those of the teacher's that fit."
    )


def apply(module: nn.Module, config: DistillConfig, workshop: Workshop) -> nn.Module:  # noqa: ARG001
    """A new, smaller module, taught by the one that the recipe began with.

    Raises ConfigurationError for a student that cannot be built, and CompressionFailed when teaching diverges or
    nothing of the teacher's weights fits.
    """
    torch.manual_seed(workshop.seed)
    student = build(config.architecture, config.config, workshop.encoder)
    if config.start == "teacher":
        inherit(student, workshop.teacher)
    teach(student, config, workshop)
    return student


def misfit(config: DistillConfig, card: ModelCard) -> Misfit | None:  # noqa: ARG001
    """A student that cannot be built, whatever the model is."""
    known = architectures()
    if config.architecture not in known:
        reason = f"there is no architecture {config.architecture!r}; there are: {', '.join(known)}"
        return Misfit("architecture", reason)
    try:
        known[config.architecture].config.model_validate(config.config)
    except ValidationError as error:
        return Misfit("config", explain(error))
    return None


def student_card(config: DistillConfig, card: ModelCard) -> ModelCard:
    """The card with the student as its source."""
    source = ArchitectureSource(kind="architecture", architecture=config.architecture, config=config.config)
    return card.model_copy(update={"source": source})


TECHNIQUE = Technique(
    name="distill",
    stage="module",
    config=DistillConfig,
    apply=apply,
    summary="A smaller network of any architecture, taught by the trained one.",
    source="Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (arXiv 1503.02531)",
    needs_rows=True,
    misfit=misfit,
    changes=student_card,
)
