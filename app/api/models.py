"""GET /v1/models and below: which models there are, what they eat, and what each variant is worth."""

import msgspec
from fastapi import APIRouter

from app.api.answers import (
    CatalogSize,
    ModelDetail,
    ModelList,
    ModelSummary,
    VariantDetail,
    VariantList,
)
from app.api.envelope import error_examples
from app.api.state import Parts, Service
from app.card_policy import as_shown
from app.errors import ActiveCorrupt, ConfigurationError, NotReady, UnknownModel
from app.model_card import BASELINE, ModelCard
from app.policy import ShownPolicy
from app.published import Published, published_variants
from app.serving.loaded import LoadedModel

router = APIRouter(prefix="/v1/models", tags=["models"])
_ERRORS = error_examples(UnknownModel, NotReady)


@router.get("")
def list_models(parts: Parts) -> ModelList:
    """Every model of the models folder and of the store."""
    return ModelList(models=[_summary(parts, name) for name in parts.registry.names()])


@router.get("/{model}", responses=_ERRORS | error_examples(ActiveCorrupt))
def show_model(model: str, parts: Parts) -> ModelDetail:
    """One model: its features, the size of its catalog, what is active."""
    _check_known(parts, model)
    loaded = parts.registry.models.get(model)
    reader = loaded.any_reader if loaded else None
    schema = reader.schema if reader else None
    active = parts.store.active(model)
    return ModelDetail(
        **_summary(parts, model).model_dump(),
        user_key=schema.user_key if schema else None,
        item_key=schema.item_key if schema else None,
        features=[feature.model_dump(mode="json") for feature in schema.features] if schema else [],
        catalog=CatalogSize(items=len(reader.catalog.item_ids), users=len(reader.catalog.user_ids))
        if reader
        else None,
        revision=active.revision,
        follows_card=active.state.follows_card,
        can_roll_back=bool(active.history),
    )


@router.get("/{model}/variants", responses=_ERRORS)
def list_variants(model: str, parts: Parts) -> VariantList:
    """Every published variant: the active version, else the newest, with report and verdict.

    A damaged one stands in `unreadable`, and does not hide the others.
    """
    _check_known(parts, model)
    found = published_variants(parts.store, model)
    return VariantList(
        variants=[_detail(name, one) for name, one in found.readable.items()], unreadable=found.unreadable
    )


def _detail(name: str, one: Published) -> VariantDetail:
    return VariantDetail(
        name=name,
        version=one.manifest.version,
        parent=one.manifest.parent,
        recipe=one.manifest.recipe,
        active=one.active,
        verdict=one.verdict.outcome,
        reason=one.verdict.reason,
        report=msgspec.to_builtins(one.report),
    )


def _summary(parts: Service, name: str) -> ModelSummary:
    loaded = parts.registry.models.get(name)
    try:
        card = _card(parts, name)
        title, description = (card.title, card.description) if card else ("", "")
    except ConfigurationError as error:
        # One wrong card must not hide the other models.
        title, description = "", f"its model card is wrong: {error.message}"
    return ModelSummary(
        name=name,
        title=title,
        description=description,
        ready=bool(loaded and loaded.variants),
        variants=_names(loaded),
        policy=as_shown(loaded.active.state.policy) if loaded else ShownPolicy(kind="ladder"),
    )


def _names(loaded: LoadedModel | None) -> list[str]:
    return sorted(loaded.variants, key=lambda name: (name != BASELINE, name)) if loaded else []


def _card(parts: Service, name: str) -> ModelCard | None:
    """The card, where the models folder has one: a store may hold models whose cards are elsewhere."""
    return parts.card(name) if name in parts.registry.expected() else None


def _check_known(parts: Service, model: str) -> None:
    if model not in parts.registry.names():
        raise UnknownModel(f"there is no model {model[:100]!r}; GET /v1/models lists them", model=model[:100])
