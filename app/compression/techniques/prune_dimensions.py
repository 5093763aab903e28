"""Narrower embeddings: the least important columns of each table are removed, and what reads them with them."""

import copy
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from app.compression.gradual import GradualConfig, in_rounds
from app.compression.measured_losses import losses, recorded
from app.compression.narrow import all_kept, features_of, narrowable, owner
from app.compression.technique import Technique, without_tables
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.schema import Feature
from app.training.hashed_tables import QuotientRemainder, RandomOffsets
from app.training.narrowable import Narrowable
from app.training.narrowing import Kept

# Rows of 16 bytes, and multiples of them, are what vector registers are loaded with.
_MULTIPLE = 4


class PruneDimensionsConfig(GradualConfig):
    """How much is kept, by what measure, and how the rest is tuned."""

    keep: float = Field(default=0.5, gt=0, lt=1, description="Share of each table's columns that stays.")
    importance: Literal["taylor", "activation", "magnitude"] = Field(
        default="taylor",
        description="taylor: |value * gradient|; activation: mean |value| looked up; magnitude: norm of the column.",
    )


def apply(module: nn.Module, config: PruneDimensionsConfig, workshop: Workshop) -> nn.Module:
    """The module with narrower tables, tuned by distillation from the module that the recipe began with.

    Where an architecture multiplies features column by column, the same columns go from all of them, numbers and
    vectors too; elsewhere each table loses its own. Raises CompressionFailed when the module cannot be narrowed, or
    when tuning diverges.
    """
    pruned = copy.deepcopy(module)
    ranker = narrowable(pruned, TECHNIQUE.name)
    groups = _groups(ranker)
    full = [ranker.embedding.width(group[0]) for group in groups]
    if not any(_width(width, config.keep) < width for width in full):
        found = ", ".join(f"{group[0].name}: {width}" for group, width in zip(groups, full, strict=True))
        raise CompressionFailed(
            f"{TECHNIQUE.name}: no table would get narrower; widths are multiples of {_MULTIPLE}, and a table of "
            f"random offsets stays as it is; widths that may change: {found or 'none'}"
        )

    def prune(share: float, room: Workshop) -> None:
        room.progress(0.0, "measuring columns")
        importance = _IMPORTANCE[config.importance](pruned, ranker, room)
        columns = dict(all_kept(ranker).columns)
        for group, width in zip(groups, full, strict=True):
            names = {one.name for one in group}
            total = torch.stack([importance[name] for name in sorted(names)]).sum(dim=0)
            left = min(len(total), _width(width, 1.0 - (1.0 - config.keep) * share))
            # What contributes least goes: the largest importances stay.
            stays = torch.topk(total, left).indices.sort().values
            columns |= dict.fromkeys(names, stays)
        ranker.narrow(Kept(columns))

    in_rounds(pruned, config, workshop, prune)
    return pruned


def _width(full: int, keep: float) -> int:
    return min(full, max(_MULTIPLE, round(full * keep / _MULTIPLE) * _MULTIPLE))


def _groups(ranker: Narrowable) -> list[list[Feature]]:
    """Features that must keep the same columns: those of one table, or all of them; none that cannot be narrowed."""
    features = sorted(features_of(ranker), key=owner)
    tables = ranker.embedding.tables
    fixed = [
        one for one in features if owner(one) in tables and isinstance(tables[owner(one)], RandomOffsets)
    ]
    if ranker.aligned:
        return [] if fixed else [features]
    free = [one for one in features if owner(one) in tables and one not in fixed]
    return [list(group) for _, group in groupby(free, key=owner)]


def _taylor(module: nn.Module, ranker: Narrowable, workshop: Workshop) -> dict[str, Tensor]:
    """First-order estimate of what the loss changes by without a column (Molchanov et al., 2019, equation 8)."""

    def of_batch(sides: tuple[Tensor, ...], loss: Tensor) -> list[Tensor]:
        gradients = torch.autograd.grad(loss, sides)
        return [(values * one).abs() for values, one in zip(sides, gradients, strict=True)]

    return _over_rows(module, ranker, workshop, of_batch)


def _activation(module: nn.Module, ranker: Narrowable, workshop: Workshop) -> dict[str, Tensor]:
    return _over_rows(module, ranker, workshop, lambda sides, _: [values.abs() for values in sides])


def _magnitude(module: nn.Module, ranker: Narrowable, workshop: Workshop) -> dict[str, Tensor]:  # noqa: ARG001
    embedding = ranker.embedding

    def norm(name: str) -> Tensor:
        if name in embedding.projections:
            projection = embedding.projections[name]
            assert isinstance(projection, nn.Linear)
            return _norm(torch.cat([projection.weight, projection.bias[:, None]], dim=1).T)
        table = embedding.tables[name]
        if isinstance(table, nn.Embedding):
            return _norm(table.weight)
        assert isinstance(table, QuotientRemainder)
        return _norm(table.remainder.weight) * _norm(table.quotient.weight)

    movable = {one.name for group in _groups(ranker) for one in group}
    return {one.name: norm(owner(one)) for one in features_of(ranker) if one.name in movable}


def _norm(columns: Tensor) -> Tensor:
    """[rows, columns] -> [columns]."""
    norms: Tensor = torch.linalg.vector_norm(columns.detach(), dim=0)
    return norms


def _over_rows(
    module: nn.Module,
    ranker: Narrowable,
    workshop: Workshop,
    of_batch: Callable[[tuple[Tensor, ...], Tensor], list[Tensor]],
) -> dict[str, Tensor]:
    """Sums over some training rows of what `of_batch` gives for [rows, width] of each side, feature by feature."""
    embedding = ranker.embedding
    sides = [side for side in (embedding.request_features, embedding.item_features) if side]
    totals = [torch.zeros(sum(map(embedding.width, side))) for side in sides]
    with recorded([embedding], "gave") as outputs:
        for loss in losses(module, workshop.rows(TECHNIQUE.name), workshop.seed):
            # A side without features is an empty constant, which no loss depends on.
            found = tuple(one for one in outputs[id(embedding)] if one.shape[1])
            for total, values in zip(totals, of_batch(found, loss), strict=True):
                total.add_(values.detach().sum(dim=0))
    parts: Mapping[str, Tensor] = {
        one.name: values
        for side, total in zip(sides, totals, strict=True)
        for one, values in zip(side, torch.split(total, [embedding.width(one) for one in side]), strict=True)
    }
    return dict(parts)


_IMPORTANCE: dict[str, Callable[[nn.Module, Narrowable, Workshop], dict[str, Tensor]]] = {
    "taylor": _taylor,
    "activation": _activation,
    "magnitude": _magnitude,
}


TECHNIQUE = Technique(
    name="prune_dimensions",
    stage="module",
    config=PruneDimensionsConfig,
    apply=apply,
    summary="The least important columns of embedding tables are removed, and the rest is tuned again.",
    source="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (arXiv 1906.10771)",
    needs_rows=True,
    misfit=without_tables,
)
