"""From a model's folder to published, measured variants.

    model -> [module steps] -> export -> [graph steps] -> profile -> evaluate -> gate -> publish -> activate

The baseline comes first and is active at once, so that a service can answer while the variants are being made. What
is up to date is not made again.
"""

from pydantic import ValidationError

from app.compression.recipe import read_steps
from app.compression.run import Run
from app.compression.site import Outcome, Selection, Site
from app.compression.workshop import Progress
from app.errors import CompressionFailed, ConfigurationError
from app.model_card import BASELINE, ModelCard, Recipe, explain, read_card


def compress(model: str, selection: Selection, site: Site, progress: Progress) -> list[Outcome]:
    """Make, measure, publish and activate the selected variants of a model; the baseline first.

    Raises UnknownModel, UnknownRecipe and ConfigurationError before any work begins, and CompressionFailed at the end
    when some variant could not be made; all others are published by then.
    """
    card = read_card(site.models / model)
    plan = [(recipe, read_steps(recipe, card)) for recipe in _chosen(card, selection)]
    run = Run(card, selection, site, progress)
    outcomes = [run.baseline()]
    for position, (recipe, steps) in enumerate(plan):
        outcomes.append(run.variant(recipe, steps, position, len(plan)))
    told = run.finish()
    site.store.collect(model, site.keep_versions)
    for sentence in told:
        progress(1.0, sentence)
    progress(1.0, "done")
    if failed := [one for one in outcomes if one.version is None]:
        reasons = "; ".join(f"{one.variant}: {one.reason}" for one in failed)
        raise CompressionFailed(f"{len(failed)} of {len(outcomes)} variants could not be made: {reasons}")
    return outcomes


def _chosen(card: ModelCard, selection: Selection) -> list[Recipe]:
    if selection.recipe is not None:
        try:
            return [Recipe.model_validate(selection.recipe)]
        except ValidationError as error:
            raise ConfigurationError(f"the recipe: {explain(error)}") from error
    if selection.recipes is None:
        return list(card.recipes)
    return [card.recipe(name) for name in dict.fromkeys(selection.recipes) if name != BASELINE]
