"""From a recipe as it is written in a model card to steps that can be applied, checked before any work begins."""

from dataclasses import dataclass
from typing import Any

from app.compression.technique import Technique, TechniqueConfig, techniques
from app.errors import ConfigurationError
from app.model_card import ModelCard, OnnxSource, Recipe


@dataclass(frozen=True)
class Step:
    """One technique with its checked configuration."""

    technique: Technique
    config: TechniqueConfig

    def to_json(self) -> dict[str, Any]:
        """The step with every setting, defaults included."""
        return {"technique": self.technique.name, **self.config.model_dump(mode="json")}


def read_steps(recipe: Recipe, card: ModelCard) -> tuple[Step, ...]:
    """Check a recipe against the techniques and against the model it is for.

    Raises ConfigurationError naming the recipe, the step and the field: an unknown technique, an impossible setting,
    a module step after a graph step, a module step for a ready graph, a step that needs rows where there are none, or
    one that would find nothing to act on.
    """
    steps: list[Step] = []
    changed = card
    for position, raw in enumerate(recipe.steps, start=1):
        where = f"recipe {recipe.name!r}, step {position}"
        technique = _technique(raw["technique"], where)
        config = technique.configure({k: v for k, v in raw.items() if k != "technique"}, where)
        _check_place(technique, steps, card, where)
        if misfit := technique.misfit(config, changed):
            raise ConfigurationError(f"{where} ({technique.name}): {misfit.field}: {misfit.reason}")
        steps.append(Step(technique, config))
        changed = technique.changes(config, changed)
    return tuple(steps)


def _technique(name: str, where: str) -> Technique:
    known = techniques()
    if name not in known:
        raise ConfigurationError(f"{where}: there is no technique {name!r}; there are: {', '.join(known)}")
    return known[name]


def _check_place(technique: Technique, before: list[Step], card: ModelCard, where: str) -> None:
    label = f"{where} ({technique.name})"
    if technique.stage == "module":
        if any(step.technique.stage == "graph" for step in before):
            raise ConfigurationError(
                f"{label}: it works on the module and must stand before every graph step"
            )
        if isinstance(card.source, OnnxSource):
            raise ConfigurationError(f"{label}: it works on a module, and the model is a ready ONNX graph")
    if technique.needs_rows and card.data is None:
        raise ConfigurationError(f"{label}: it needs rows, and the model's card has no [data]")
