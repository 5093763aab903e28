"""Reads the whole model repository, so that everything wrong with it is said at once."""

from pathlib import Path

from app.errors import ConfigurationError, ServiceError
from app.model_card import ModelCard, model_names, read_card


def read_cards(models: Path) -> list[ModelCard]:
    """Every model card of the folder. Raises ConfigurationError that names everything wrong with them."""
    if not models.is_dir():
        raise ConfigurationError(f"there is no folder {str(models)!r}; name the models' folder with --models")
    cards, wrong = [], []
    for name in model_names(models):
        try:
            cards.append(read_card(models / name))
        except ServiceError as error:
            wrong.append(error.message)
    if wrong:
        raise ConfigurationError("; ".join(wrong))
    return cards
