"""Every architecture can be pruned in every way, alone and one after the other, and its graph scores as it does."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.machine import this_machine
from app.training.architecture import architectures, build
from app.training.export import export
from app.training.fit import TrainingConfig, fit, predict
from app.training.graph_file import check_contract
from torch import nn

from tests.compression.parts import ignore, scorer_of
from tests.training.lessons import click_lesson, clicks, silent

SHORT = {"epochs": 2, "batch_size": 128, "learning_rate": 0.01}
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("prune_features", SHORT),
    ("prune_dimensions", SHORT),
    ("prune_cross_layers", SHORT),
    ("prune_neurons", {**SHORT, "scope": "global", "rounds": 2}),
    ("prune_weights", {**SHORT, "weights": "all"}),
]
CROSSES = {"dcn_v2"}
NETWORKS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in sorted(architectures())]
NETWORKS += [("dcn_v2", {"structure": "stacked", "cross_rank": 3})]
of_each_network = pytest.mark.parametrize("place", range(len(NETWORKS)), ids=[str(one) for one in NETWORKS])


@cache
def trained(place: int) -> nn.Module:
    """A network that has learned something. It is shared: do not change it."""
    name, config = NETWORKS[place]
    torch.manual_seed(0)
    module = build(name, {"embedding_dimension": 8, "hidden": [32, 32], **config}, clicks().encoder)
    fit(module, click_lesson(), TrainingConfig(epochs=3, batch_size=128, learning_rate=0.01), silent)
    return module


def steps_of(place: int) -> list[tuple[str, dict[str, Any]]]:
    crosses = NETWORKS[place][0] in CROSSES
    return [(name, settings) for name, settings in STEPS if crosses or name != "prune_cross_layers"]


def pruned(module: nn.Module, place: int, name: str, settings: dict[str, Any]) -> nn.Module:
    workshop = Workshop(clicks().encoder, clicks(), 0, this_machine(), ignore, teacher=trained(place))
    technique = techniques()[name]
    made: nn.Module = technique.apply(module, technique.configure(settings, "a test"), workshop)
    return made


def used(module: nn.Module) -> int:
    """Weights that are not zero."""
    return sum(int(one.count_nonzero()) for one in module.parameters())


def test_every_technique_that_prunes_a_module_is_among_them() -> None:
    assert {name for name, _ in STEPS} == {
        name for name, one in techniques().items() if one.stage == "module" and name.startswith("prune")
    }


@of_each_network
def test_it_keeps_its_order_whatever_is_pruned(place: int) -> None:
    theirs = predict(trained(place), clicks().test)
    for name, settings in steps_of(place):
        made = pruned(trained(place), place, name, settings)
        assert used(made) < used(trained(place)), name
        assert np.corrcoef(predict(made, clicks().test), theirs)[0, 1] > 0.9, name


@of_each_network
def test_one_after_the_other_and_then_as_a_graph(place: int, tmp_path: Path) -> None:
    made = trained(place)
    for name, settings in steps_of(place):
        before = used(made)
        made = pruned(made, place, name, settings)
        assert used(made) < before, name
    graph = export(made, clicks().encoder)
    onnx.checker.check_model(graph, full_check=True)
    inputs = {one.name for one in graph.graph.input}
    left_out = [one.name for one in clicks().encoder.schema.features if one.name not in inputs]
    assert len(left_out) == 1
    check_contract(graph, clicks().encoder.schema, left_out)
    store = techniques()["store_sparse"]
    workshop = Workshop(clicks().encoder, clicks(), 0, this_machine(), ignore)
    sparse = store.apply(graph, store.configure({"sparsity": 0.5}, "a test"), workshop)
    scores = scorer_of(sparse, tmp_path).score_rows(clicks().test)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-predict(made, clicks().test))), atol=1e-5)
