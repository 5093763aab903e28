"""Pruning in rounds: some goes, the rest is tuned, and more goes, along a curve that is steep first.

What is left after a round has learned to do without what went, so importances are measured anew in every round. The
curve is that of Zhu and Gupta, To Prune, or Not to Prune, 2017 (arXiv 1710.01878, equation 1): much goes while much is
superfluous, and little at the end.
"""

from collections.abc import Callable

from pydantic import Field
from torch import nn

from app.compression.teaching import TeachingConfig, teach
from app.compression.workshop import Workshop

# Share of a round's progress that measuring has; the rest is tuning.
_MEASURING = 0.1


class GradualConfig(TeachingConfig):
    """Rounds of pruning and tuning."""

    rounds: int = Field(
        default=1, ge=1, le=100, description="Rounds of pruning and tuning; 1: all goes at once."
    )
    round_epochs: int = Field(
        default=1, ge=1, le=1000, description="Most epochs after each round but the last, which has `epochs`."
    )


def share_gone(round_number: int, rounds: int) -> float:
    """How much of what is to go has gone after a round, counted from 1: 1 - (1 - t)^3; 1 after the last."""
    return 1.0 - (1.0 - round_number / rounds) ** 3


def in_rounds(
    module: nn.Module,
    config: GradualConfig,
    workshop: Workshop,
    prune: Callable[[float, Workshop], None],
) -> None:
    """Prune and tune `module` in place, round by round.

    `prune(share, workshop)` prunes it until that share (0 to 1) of what is to go has gone. Raises CompressionFailed
    when tuning diverges.
    """
    for number in range(1, config.rounds + 1):
        room = workshop.within((number - 1) / config.rounds, number / config.rounds)
        prune(share_gone(number, config.rounds), room.within(0.0, _MEASURING))
        epochs = config.epochs if number == config.rounds else config.round_epochs
        teach(module, config.model_copy(update={"epochs": epochs}), room.within(_MEASURING, 1.0))
