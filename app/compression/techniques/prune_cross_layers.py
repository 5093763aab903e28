"""Whole layers of a cross network are removed, the least important first, and the rest is tuned again."""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from app.compression.measured_losses import losses, recorded
from app.compression.teaching import TeachingConfig, teach
from app.compression.technique import Misfit, Technique
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.model_card import ArchitectureSource, ModelCard
from app.training.architecture import architectures
from app.training.cross_network import CrossNetwork

_MEASURING = 0.1


class PruneCrossLayersConfig(TeachingConfig):
    """How many layers go, by what measure, and how the rest is tuned."""

    drop: int = Field(
        default=1, ge=1, le=7, description="Layers of each cross network that go; one always stays."
    )
    importance: Literal["taylor", "activation", "magnitude"] = Field(
        default="taylor",
        description="taylor: |output * gradient|; activation: mean |output|; magnitude: norm of the weights.",
    )


def apply(module: nn.Module, config: PruneCrossLayersConfig, workshop: Workshop) -> nn.Module:
    """The module with shallower cross networks, tuned by distillation from the module that the recipe began with.

    A layer adds x_0 * (W x + b) to what comes before it, so without it the next one reads what it read. Raises
    CompressionFailed when no cross network has as many layers to lose, or when tuning diverges.
    """
    pruned = copy.deepcopy(module)
    networks = [one for one in pruned.modules() if isinstance(one, CrossNetwork)]
    depths = [len(network.layers) for network in networks]
    if not networks or min(depths) <= config.drop:
        found = ", ".join(map(str, depths)) or "none"
        raise CompressionFailed(
            f"{TECHNIQUE.name}: drop = {config.drop} needs cross networks of more layers than that; "
            f"layers of the module's cross networks: {found}"
        )
    workshop.progress(0.0, "measuring cross layers")
    for network in networks:
        importance = _IMPORTANCE[config.importance](pruned, network, workshop)
        stays = torch.topk(importance, len(importance) - config.drop).indices
        network.keep(sorted(stays.tolist()))
    teach(pruned, config, workshop.within(_MEASURING, 1.0))
    return pruned


def _taylor(module: nn.Module, network: CrossNetwork, workshop: Workshop) -> Tensor:
    """First-order estimate of what the loss changes by without a layer.

    What a layer adds is x_0 times its output o, and o * dL/do is the same as that times the gradient there.
    """
    total = torch.zeros(len(network.layers))
    with recorded(network.layers, "gave") as outputs:
        for loss in losses(module, workshop.rows(TECHNIQUE.name), workshop.seed):
            found = [outputs[id(layer)] for layer in network.layers]
            gradients = torch.autograd.grad(loss, found)
            parts = [
                (one * slope).sum(dim=1).abs().sum() for one, slope in zip(found, gradients, strict=True)
            ]
            total += torch.stack(parts).detach()
    return total


def _activation(module: nn.Module, network: CrossNetwork, workshop: Workshop) -> Tensor:
    total = torch.zeros(len(network.layers))
    with recorded(network.layers, "gave") as outputs:
        for _ in losses(module, workshop.rows(TECHNIQUE.name), workshop.seed):
            total += torch.stack([outputs[id(layer)].abs().sum() for layer in network.layers]).detach()
    return total


def _magnitude(module: nn.Module, network: CrossNetwork, workshop: Workshop) -> Tensor:  # noqa: ARG001
    """The norm of W; of a thin pair, that of their product."""

    def norm(layer: nn.Module) -> Tensor:
        matrices = [one.detach() for one in layer.parameters() if one.dim() == 2]
        if isinstance(layer, nn.Sequential):
            first, second = matrices
            matrices = [second @ first]
        total: Tensor = torch.linalg.vector_norm(torch.cat([one.flatten() for one in matrices]))
        return total

    return torch.stack([norm(layer) for layer in network.layers])


_IMPORTANCE: dict[str, Callable[[nn.Module, CrossNetwork, Workshop], Tensor]] = {
    "taylor": _taylor,
    "activation": _activation,
    "magnitude": _magnitude,
}


def misfit(config: PruneCrossLayersConfig, card: ModelCard) -> Misfit | None:
    """An architecture without as many cross layers; what a module of the user's own has is seen when it is loaded."""
    source = card.source
    if not isinstance(source, ArchitectureSource) or source.architecture not in architectures():
        return None
    try:
        settings = architectures()[source.architecture].config.model_validate(source.config)
    except ValidationError:
        return None  # who builds it says what is wrong with it
    depth = getattr(settings, "cross_layers", 0)
    if depth > config.drop:
        return None
    return Misfit("drop", f"{source.architecture} has {depth} cross layers here, and at least one must stay")


TECHNIQUE = Technique(
    name="prune_cross_layers",
    stage="module",
    config=PruneCrossLayersConfig,
    apply=apply,
    summary="Whole layers of a cross network are removed by importance, and the rest is tuned again.",
    source="Wang et al., DCN V2, WWW 2021 (arXiv 2008.13535); Molchanov et al., CVPR 2019 (arXiv 1906.10771)",
    needs_rows=True,
    misfit=misfit,
)
