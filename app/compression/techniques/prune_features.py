"""Whole features are removed, those whose values matter least: the graph has no input for them any more."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from app.compression.measured_losses import tensors
from app.compression.narrow import all_kept, features_of, narrowable
from app.compression.teaching import TeachingConfig, teach
from app.compression.technique import Misfit, Technique
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.model_card import ModelCard
from app.schema import Feature
from app.training.fit import PREDICT_ROWS
from app.training.metrics import auc
from app.training.narrowable import Narrowable
from app.training.narrowing import Kept
from app.training.rows import Rows

_ROWS = 20_000
_MEASURING = 0.3


class PruneFeaturesConfig(TeachingConfig):
    """How many features go, how they are chosen, and how the rest is tuned."""

    drop: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Features that go; at least one of the request and one of the item stay.",
    )
    never: tuple[str, ...] = Field(default=(), description="Features that stay, whatever their importance.")
    repeats: int = Field(default=3, ge=1, le=100, description="Permutations whose loss of AUC is averaged.")


def apply(module: nn.Module, config: PruneFeaturesConfig, workshop: Workshop) -> nn.Module:
    """The module without the features whose permutation costs least AUC on the validation rows, tuned by distillation.

    Raises CompressionFailed when the module cannot be narrowed, has not as many features to lose, or tuning diverges.
    """
    workshop.rows(TECHNIQUE.name)
    assert workshop.prepared is not None
    pruned = copy.deepcopy(module)
    ranker = narrowable(pruned, TECHNIQUE.name)
    validation = _some(workshop.prepared.validation, workshop.seed)
    costs = _costs(pruned, features_of(ranker), validation, config.repeats, workshop.within(0.0, _MEASURING))
    gone = _chosen(ranker, costs, config)
    ranker.narrow(Kept({name: one for name, one in all_kept(ranker).columns.items() if name not in gone}))
    teach(pruned, config, workshop.within(_MEASURING, 1.0))
    return pruned


def _chosen(ranker: Narrowable, costs: Mapping[str, float], config: PruneFeaturesConfig) -> set[str]:
    """The features that go: the cheapest first, but never the last one of a side."""
    sides = [
        {one.name for one in side}
        for side in (ranker.embedding.request_features, ranker.embedding.item_features)
    ]
    gone: set[str] = set()
    for name in sorted(costs, key=lambda one: costs[one]):
        side = next(one for one in sides if name in one)
        if len(gone) < config.drop and name not in config.never and len(side - gone) > 1:
            gone.add(name)
    if len(gone) < config.drop:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: drop = {config.drop} are too many: of {len(costs)} features {len(gone)} can go, "
            "because one of the request and one of the item must stay, and those that `never` names"
        )
    return gone


def _costs(
    module: nn.Module, features: Sequence[Feature], rows: Rows, repeats: int, workshop: Workshop
) -> dict[str, float]:
    """By feature, the AUC that is lost when its values are exchanged between rows (Breiman, 2001, section 10)."""
    whole = auc(rows.labels, _predicted(module, rows, None, np.arange(len(rows))))
    found: dict[str, float] = {}
    for place, feature in enumerate(features):
        workshop.progress(place / len(features), f"permuting {feature.name}")
        # The same permutations for every feature: their differences are not those of the permutations.
        rng = np.random.default_rng(workshop.seed)
        lost = [
            whole - auc(rows.labels, _predicted(module, rows, feature.name, rng.permutation(len(rows))))
            for _ in range(repeats)
        ]
        found[feature.name] = float(np.mean(lost))
    return found


def _predicted(module: nn.Module, rows: Rows, name: str | None, order: Array) -> Array:
    """Logits of the rows, each of which has the named feature of the row that `order` says."""
    module.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), PREDICT_ROWS):
            chunk = np.arange(start, min(start + PREDICT_ROWS, len(rows)))
            inputs: dict[str, Tensor] = tensors(rows, chunk)
            if name is not None:
                inputs[name] = tensors(rows, order[chunk])[name]
            parts.append(module(inputs, torch.arange(len(chunk))).numpy())
    return np.concatenate(parts)


def _some(rows: Rows, seed: int) -> Rows:
    if len(rows) <= _ROWS:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:_ROWS]))


def misfit(config: PruneFeaturesConfig, card: ModelCard) -> Misfit | None:
    """A feature to spare that the model does not have, or too few features."""
    names = [one.name for one in card.features.features]
    if strange := [name for name in config.never if name not in names]:
        return Misfit("never", f"there is no feature {strange[0]!r}; there are: {', '.join(names)}")
    if config.drop >= len(names):
        return Misfit("drop", f"the model has {len(names)} features, and at least one must stay")
    return None


TECHNIQUE = Technique(
    name="prune_features",
    stage="module",
    config=PruneFeaturesConfig,
    apply=apply,
    summary="Features whose permutation costs least are removed with their inputs, and the rest is tuned again.",
    source="Breiman, Random Forests, Machine Learning 2001, section 10; Fisher et al., 2019 (arXiv 1801.01489)",
    needs_rows=True,
    misfit=misfit,
)
