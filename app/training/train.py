"""From a model card to a trained module: read, split, fit the encoder, fit the weights, write both down."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import nn

from app.encoding import Encoder
from app.errors import ConfigurationError
from app.model_card import ArchitectureSource, Data, EntryPointSource, ModelCard, explain
from app.training.checkpoint import save_weights
from app.training.data.dataset import Dataset
from app.training.data.source import Place, read_dataset
from app.training.fit import FitResult, Lesson, TrainingConfig, fit
from app.training.fit_encoder import fit_encoder
from app.training.rows import Prepared, prepare
from app.training.source import new_module
from app.training.split import split_rows


@dataclass(frozen=True)
class Trained:
    """What training gives."""

    module: nn.Module
    encoder: Encoder
    prepared: Prepared
    fit: FitResult


def training_config(card: ModelCard) -> TrainingConfig:
    """The card's [training], checked. Raises ConfigurationError naming the field."""
    try:
        return TrainingConfig.model_validate(card.training)
    except ValidationError as error:
        raise ConfigurationError(f"[training]: {explain(error)}") from error


def prepare_data(card: ModelCard, place: Place, encoder: Encoder | None = None) -> Prepared:
    """Read, split and encode the card's data, with an encoder fitted on the training rows unless one is given.

    Raises ConfigurationError when the card has no [data], and what reading raises.
    """
    data = data_of(card)
    dataset: Dataset = read_dataset(data, card.features, place)
    split = split_rows(dataset, data.split)
    return prepare(dataset, encoder or fit_encoder(card.features, dataset, split.train), split)


def data_of(card: ModelCard) -> Data:
    """The card's [data]. Raises ConfigurationError when it has none."""
    if card.data is None:
        raise ConfigurationError(f"{card.name}: the model card has no [data]")
    return card.data


def train(card: ModelCard, place: Place, progress: Callable[[float, str], None]) -> Trained:
    """Train the card's architecture or entry point from random weights; nothing is written.

    Raises ConfigurationError for a card that cannot be trained, and CompressionFailed when training diverges.
    """
    source, config = card.source, training_config(card)
    if not isinstance(source, ArchitectureSource | EntryPointSource):
        raise ConfigurationError(f"{card.name}: a ready ONNX graph cannot be trained")
    progress(0.0, "reading data")
    prepared = prepare_data(card, place)
    module = new_module(card, place.folder, prepared.encoder, seed=config.seed)
    lesson = Lesson(card.features, prepared.train, prepared.validation)
    return Trained(module, prepared.encoder, prepared, fit(module, lesson, config, progress))


def save(trained: Trained, card: ModelCard, folder: Path) -> list[Path]:
    """Write encoder and checkpoint into the model's folder, each whole or not at all; gives their paths."""
    source = card.source
    assert isinstance(source, ArchitectureSource | EntryPointSource)
    encoder, checkpoint = folder / source.encoder, folder / source.checkpoint
    _replace(encoder, lambda path: path.write_bytes(trained.encoder.to_json()))
    _replace(checkpoint, lambda path: save_weights(trained.module, path, trained.encoder.sha256))
    return [encoder, checkpoint]


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
