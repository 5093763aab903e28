"""What the techniques that narrow a ranker's embedding share: which module can be narrowed, and its features."""

import torch
from torch import nn

from app.errors import CompressionFailed
from app.schema import Feature
from app.training.narrowable import Narrowable
from app.training.narrowing import Kept


def narrowable(module: nn.Module, technique: str) -> Narrowable:
    """The module as one that can be narrowed. Raises CompressionFailed when it is none."""
    if not isinstance(module, Narrowable):
        raise CompressionFailed(
            f"{technique}: {type(module).__name__} does not say what reads its features: it works on the architectures "
            "of this project, and on modules that have `embedding`, `aligned` and `narrow` as they do"
        )
    return module


def features_of(module: Narrowable) -> tuple[Feature, ...]:
    """Every feature that the module still reads, the request's first."""
    return (*module.embedding.request_features, *module.embedding.item_features)


def all_kept(module: Narrowable) -> Kept:
    """Everything that the module has now."""
    return Kept({one.name: torch.arange(module.embedding.width(one)) for one in features_of(module)})


def owner(feature: Feature) -> str:
    """The feature whose table or projection gives this one's vectors."""
    return str(getattr(feature, "of", feature.name))
