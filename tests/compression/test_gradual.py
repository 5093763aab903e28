"""Pruning in rounds: how much goes when, and what is tuned in between."""

import copy
from dataclasses import replace

from app.compression.gradual import GradualConfig, in_rounds, share_gone
from app.compression.workshop import Workshop


def test_much_goes_first_and_all_by_the_end() -> None:
    assert [share_gone(number, 2) for number in (1, 2)] == [0.875, 1.0]
    assert share_gone(1, 1) == 1.0
    shares = [share_gone(number, 10) for number in range(1, 11)]
    steps = [b - a for a, b in zip([0.0, *shares], shares, strict=False)]
    assert steps == sorted(steps, reverse=True)
    assert shares[-1] == 1.0


def test_every_round_prunes_and_tunes(workshop: Workshop) -> None:
    told: list[tuple[float, str]] = []
    watched = replace(workshop, progress=lambda done, what: told.append((done, what)))
    config = GradualConfig(rounds=3, epochs=2, patience=2, batch_size=1024)
    module = copy.deepcopy(workshop.teacher)
    in_rounds(module, config, watched, lambda share, room: room.progress(0.0, f"gone: {share:.3f}"))
    pruned = [what for _, what in told if what.startswith("gone")]
    assert pruned == ["gone: 0.704", "gone: 0.963", "gone: 1.000"]
    epochs = [what.split(":")[0] for _, what in told if what.startswith("epoch")]
    assert epochs == ["epoch 1", "epoch 1", "epoch 1", "epoch 2"]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
