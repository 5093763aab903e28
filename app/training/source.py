"""From a model card to a trained module and its encoder."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.encoding import Encoder
from app.errors import ArtifactCorrupt, ConfigurationError
from app.model_card import ArchitectureSource, EntryPointSource, ModelCard
from app.training.architecture import build
from app.training.checkpoint import load_weights


def load_module(card: ModelCard, folder: Path) -> tuple[nn.Module, Encoder]:
    """The trained module of a card whose source is an architecture or an entry point, in evaluation mode.

    Raises ConfigurationError naming what does not fit.
    """
    source = card.source
    assert isinstance(source, ArchitectureSource | EntryPointSource)
    encoder = load_encoder(card, folder)
    module = new_module(card, folder, encoder, seed=0)
    trained_with = load_weights(module, folder / source.checkpoint)
    if trained_with not in (None, encoder.sha256):
        raise ConfigurationError(
            f"{card.name}: {source.checkpoint} was trained with another encoder than {source.encoder}; train it again"
        )
    return module.eval(), encoder


def new_module(card: ModelCard, folder: Path, encoder: Encoder, seed: int) -> nn.Module:
    """The card's module with random weights drawn by `seed`. Raises ConfigurationError naming what does not fit."""
    torch.manual_seed(seed)
    if isinstance(card.source, ArchitectureSource):
        return build(card.source.architecture, card.source.config, encoder)
    assert isinstance(card.source, EntryPointSource)
    return _call_entry_point(card.source, encoder, folder)


def load_encoder(card: ModelCard, folder: Path) -> Encoder:
    """The fitted encoder that lies beside the weights. Raises ConfigurationError when it is not for this schema."""
    path = folder / card.source.encoder
    try:
        encoder = Encoder.from_json(path.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError(
            f"{card.name}: {card.source.encoder} does not exist; `slimrank train {card.name}` or "
            f"`slimrank data {card.name} --write-encoder` makes it"
        ) from None
    except ArtifactCorrupt as error:
        raise ConfigurationError(f"{card.name}: {card.source.encoder}: {error.message}") from error
    if encoder.schema != card.features:
        raise ConfigurationError(
            f"{card.name}: {card.source.encoder} was made for another schema than the card's"
        )
    return encoder


def _call_entry_point(source: EntryPointSource, encoder: Encoder, folder: Path) -> nn.Module:
    module_name, _, attribute = source.entry_point.partition(":")
    try:
        with _importable(folder):
            entry: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"the entry point {source.entry_point!r} cannot be loaded: {error}"
        ) from error
    try:
        built = entry(encoder, **source.config)
    except TypeError as error:
        raise ConfigurationError(
            f"the entry point {source.entry_point!r} cannot be called: {error}"
        ) from error
    if not isinstance(built, nn.Module):
        kind = type(built).__name__
        raise ConfigurationError(f"the entry point {source.entry_point!r} gave a {kind}, not an nn.Module")
    return built


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let `import` find modules that lie in the model's folder, and forget them afterwards.

    Two models may each have a module `ranker`: the second must not be given the first one's.
    """
    folder = folder.absolute()  # as a module's __file__ is
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]
