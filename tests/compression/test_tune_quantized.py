"""Quantization-aware fine-tuning: later steps round to the very values that were tuned, and so lose less."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.compression.calibration import calibration_inputs
from app.compression.fake_quantization import StraightThrough, per_batch, per_block, per_output, per_row
from app.compression.graph import dense_nodes, last_dense_nodes
from app.compression.linear_layers import inner_linears
from app.compression.loss_of_quality import QualityLoss
from app.compression.probe import Probe
from app.compression.subject import Subject
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed, ConfigurationError
from app.schema import SCORE
from app.training.rows import Prepared
from torch import nn

from tests.compression.parts import a_machine, edited, set_weight, weights, workshop_of
from tests.compression.test_prune_neurons import Attention, Plain, WithAnotherHead
from tests.compression.test_quantizers import quantize

TUNE = techniques()["tune_quantized"]
# It learns what its teacher says, of pairs that never met too, to come as near to it as rounded weights can.
LESSON = {"epochs": 4, "batch_size": 256, "teacher_share": 1.0, "unlabelled": 2.0, "min_rows": 1}


def tune(module: nn.Module, workshop: Workshop, **settings: Any) -> nn.Module:
    config = TUNE.configure({**LESSON, **settings}, "a test")
    made: nn.Module = TUNE.apply(module, config, replace(workshop, teacher=module))
    return made


# Codes that no processor saturates: what is lost must not depend on the one that runs the tests.
MACHINE = a_machine("sse4_2", "avx2")
# What is tuned, the steps that follow, the share of what they lose without it that they may lose with it, and the seeds
# whose mean is taken: int8 loses little, and its gain differs from seed to seed.
CASES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]], float, int]] = {
    "low bits": (
        {"dense_bits": 4, "block_size": 32, "table_bits": 2},
        {
            "quantize_tables": {"bits": 2, "encoding": "standard", "min_rows": 1},
            "quantize_weights": {"bits": 4, "block_size": 32},
        },
        0.85,
        1,
    ),
    "int8": (
        {"dense_bits": 8, "activations": True, "learning_rate": 3e-4},
        {"quantize_static": {"rows": 1000}},
        0.97,
        4,
    ),
}
every = pytest.mark.parametrize("case", CASES)


def quantized(graph: onnx.ModelProto, case: str, workshop: Workshop) -> onnx.ModelProto:
    """What the later steps make of a graph."""
    for step, settings in CASES[case][1].items():
        graph = quantize(graph, step, workshop, **settings)
    return graph


class Tuned:
    """The small model tuned for each case, once."""

    def __init__(self, subject: Subject, workshop: Workshop) -> None:
        self._subject, self._workshop = subject, replace(workshop, machine=MACHINE)
        self._graphs: dict[tuple[str, int], onnx.ModelProto] = {}

    def graph(self, case: str, seed: int = 0) -> onnx.ModelProto:
        if (case, seed) not in self._graphs:
            assert self._subject.module is not None
            made = tune(self._subject.module, replace(self._workshop, seed=seed), **CASES[case][0])
            self._graphs[case, seed] = self._subject.export(made)
        return self._graphs[case, seed]


@pytest.fixture(scope="module")
def tuned(subject: Subject) -> Tuned:
    return Tuned(subject, workshop_of(subject))


@every
def test_later_steps_lose_less(
    tuned: Tuned, graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, case: str
) -> None:
    loss, workshop = QualityLoss(graph, prepared.test, 0), replace(workshop, machine=MACHINE)
    _, _, share, seeds = CASES[case]
    plain = loss.of_logits(quantized(graph, case, workshop))
    made = [loss.of_logits(quantized(tuned.graph(case, seed), case, workshop)) for seed in range(seeds)]
    assert np.mean(made) < share * plain


def test_later_steps_round_to_the_values_that_were_tuned(
    tuned: Tuned, graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared
) -> None:
    made = tuned.graph("low bits")
    again = QualityLoss(made, prepared.test, 0).of_logits(quantized(made, "low bits", workshop))
    # A row's low and step are fp16 in the table, and float32 while it is tuned.
    assert again < 1e-3
    assert QualityLoss(graph, prepared.test, 0).of_logits(quantized(graph, "low bits", workshop)) > 50 * again


def test_int8_weights_keep_to_the_codes_of_the_machine(subject: Subject, workshop: Workshop) -> None:
    assert subject.module is not None
    for machine, largest in ((a_machine("sse4_2", "avx2"), 64), (a_machine("asimd"), 127)):
        made = tune(subject.module, replace(workshop, machine=machine), epochs=1)
        weight = made.state_dict()["deep.layers.1.weight"]
        codes = weight / weight.abs().amax(dim=1, keepdim=True) * largest
        torch.testing.assert_close(codes, codes.round(), atol=1e-3, rtol=0)


def test_what_gives_the_score_small_tables_and_the_rest_stay_free(
    subject: Subject, workshop: Workshop
) -> None:
    assert subject.module is not None
    made = tune(
        subject.module, workshop, dense_bits=4, block_size=16, table_bits=2, min_rows=100, epochs=1
    ).state_dict()
    assert set(made) == set(subject.module.state_dict())
    for name in ("deep.layers.2.weight", "head.weight"):
        assert not torch.equal(made[name], per_block(4, 16)(made[name])), name
    for name in ("deep.layers.1.weight", "cross.first.request.weight", "embedding.projections.text.weight"):
        torch.testing.assert_close(made[name], per_block(4, 16)(made[name]), msg=name)
    for name, is_rounded in (("user_id", True), ("item_id", True), ("category", False)):
        table = made[f"embedding.tables.{name}.weight"]
        assert torch.allclose(table, per_row(2)(table), atol=1e-6) == is_rounded, name


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    values = torch.randn(4, 32, requires_grad=True)
    weight = torch.randn(4, 32)
    (StraightThrough(per_block(4, 16))(values) * weight).sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, weight)


@pytest.mark.parametrize(
    "rounding", [per_output(127), per_block(4, 16), per_block(4, 256), per_row(4), per_batch]
)
def test_rounding_is_near_keeps_zeros_and_is_stable(rounding: Any) -> None:
    torch.manual_seed(0)
    values = torch.randn(8, 40)
    rounded = rounding(values)
    assert rounded.shape == values.shape
    assert 0 < (rounded - values).abs().max() < 0.5
    torch.testing.assert_close(rounding(rounded), rounded)
    torch.testing.assert_close(rounding(torch.zeros(8, 40)), torch.zeros(8, 40))


@pytest.mark.parametrize(("bits", "block_size"), [(4, 16), (4, 32), (4, 256)])
def test_blocks_are_rounded_as_onnxruntime_does(
    graph: onnx.ModelProto, workshop: Workshop, bits: int, block_size: int
) -> None:
    """The scores of quantized weights are those of float weights that were rounded here."""
    last = {node.input[1] for node in last_dense_nodes(graph)}
    names = [node.input[1] for node in dense_nodes(graph) if node.input[1] not in last]

    def round_them(one: onnx.ModelProto) -> None:
        for name in names:
            set_weight(one, name, per_block(bits, block_size)(torch.tensor(weights(one)[name])).numpy())

    (inputs,) = calibration_inputs(workshop, 200, "a test")
    made = quantize(graph, "quantize_weights", workshop, bits=bits, block_size=block_size)
    ours, theirs = (Probe(one, [SCORE]).run(inputs)[SCORE] for one in (edited(graph, round_them), made))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def names(module: nn.Module, layers: list[nn.Linear]) -> set[str]:
    return {name for name, one in module.named_modules() if one in layers}


def test_layers_that_run_before_those_that_give_the_score_are_found(workshop: Workshop) -> None:
    rows = workshop.rows("a test")
    inputs = {name: torch.from_numpy(values) for name, values in rows.inputs(np.arange(2)).items()}

    def found(module: nn.Module) -> set[str]:
        return names(module, inner_linears(module, inputs, torch.arange(2)))

    assert found(Plain(workshop.encoder)) == {"network.0"}
    assert found(Attention(workshop.encoder)) == {"attention.0", "attention.2", "network.0"}
    assert found(WithAnotherHead(workshop.encoder, runs=True)) == {"network.0"}
    frozen = Plain(workshop.encoder).requires_grad_(False)
    assert found(frozen) == {"network.0"}
    assert not any(one.requires_grad for one in frozen.parameters())
    assert found(copy.deepcopy(workshop.teacher)) == {
        "embedding.projections.price",
        "embedding.projections.text",
        "cross.first.item",
        "cross.first.request",
        "cross.rest.0",
        "deep.layers.0.item",
        "deep.layers.0.request",
        "deep.layers.1",
    }


def test_a_module_with_nothing_to_round_is_refused(workshop: Workshop) -> None:
    module = Plain(workshop.encoder)
    module.network = nn.Sequential(nn.Linear(16, 1))
    with pytest.raises(
        CompressionFailed, match="has nothing to round: no Linear layer before those that give"
    ):
        tune(module, workshop)
    with pytest.raises(CompressionFailed, match="no table of at least min_rows = 5000 rows"):
        tune(module, workshop, table_bits=4, min_rows=5000)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"dense_bits": 0}, "dense_bits or table_bits must be given"),
        ({"dense_bits": 0, "table_bits": 4, "activations": True}, "activations goes with dense_bits"),
    ],
)
def test_settings_that_round_nothing_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        TUNE.configure(settings, "a test")
