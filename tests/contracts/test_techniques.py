"""What every technique keeps, whatever it does. A new one is found here by itself."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.compression.graph import dense_nodes, last_dense_nodes
from app.compression.subject import Subject
from app.compression.technique import Technique, TechniqueConfig, techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed, ConfigurationError
from app.jobs import JobCancelled
from app.training.graph_file import check_contract
from pydantic import ValidationError
from torch import nn

from tests.compression.parts import a_machine, edited, graph_of, scorer_of, subject_of, weights, workshop_of
from tests.small_model import SmallModel

# Settings that have no default, and such as keep the work short.
SETTINGS: dict[str, dict[str, Any]] = {
    "distill": {
        "architecture": "dcn_v2",
        "config": {"embedding_dimension": 4, "hidden": [16]},
        "epochs": 2,
        "batch_size": 64,
        "learning_rate": 0.01,
        "unlabelled": 0.1,
    },
    "drop_rows": {"min_count": 15, "min_rows": 100, "shared": "mean"},
    "factor_dense": {"energy": 0.97, "rows": 1000},
    "factor_tables": {"rank": 5, "min_rows": 100},
    "product_quantize_tables": {"subvector": 2, "clusters": 16, "min_rows": 100},
    "quantize_static": {"rows": 300},
    "tune_codebooks": {"epochs": 2, "batch_size": 256, "subvector": 2, "clusters": 16, "min_rows": 100},
    "tune_quantized": {"epochs": 2, "batch_size": 256, "table_bits": 4, "min_rows": 100},
    # The form is fixed: which is the faster one may differ from run to run on tables as small as these.
    "quantize_tables": {"bits": 4, "encoding": "standard", "min_rows": 1},
    "store_sparse": {"sparsity": 0.5},
}
PRUNED = ("cross_layers", "dimensions", "features", "neurons", "weights")
SETTINGS |= {f"prune_{what}": {"epochs": 2, "batch_size": 256} for what in PRUNED}
# One scale for all rows of a run: what a row is batched with moves its score, which the technique says of itself.
MOVED_BY_ITS_BATCH = {"quantize_dynamic"}
MULTIPLIES_IN_INT8 = {"quantize_dynamic", "quantize_static"}
# Other weights in the same place, of which a later step loses less.
PREPARES_FOR_OTHERS = {"equalize", "tune_codebooks", "tune_quantized"}
# Larger tables for smaller dense layers.
TRADES_BYTES_FOR_PRODUCTS = {"fold_tables"}
# Zeros take as many bytes as any other number, until another technique stores them.
MAKES_ZEROS = {"prune_weights"}
LEAVES_FEATURES_OUT = {"prune_features"}
# They look at all training rows, and draw none.
DRAWS_NOTHING = {"drop_rows", "factor_tables"}
# An exported graph holds nothing for them to act on: they are given one that does, with the same scores.
OF_UNTIDY_GRAPHS = {"fold_constants"}
TECHNIQUES = list(techniques().values())
every = pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda one: one.name)
of_graphs = pytest.mark.parametrize(
    "technique", [one for one in TECHNIQUES if one.stage == "graph"], ids=lambda one: one.name
)
of_int8_products = pytest.mark.parametrize(
    "technique", [one for one in TECHNIQUES if one.name in MULTIPLIES_IN_INT8], ids=lambda one: one.name
)


class Bench:
    """The small model, and what each technique makes of it."""

    def __init__(self, subject: Subject, graph: onnx.ModelProto, folder: Path) -> None:
        self.subject = subject
        self.folder = folder
        self.graph = graph
        self.untidy_graph = untidy(self.graph)
        self.result = cache(self.apply)
        self.result_graph = cache(self._result_graph)
        self.scores = cache(self._scores)

    def argument(self, technique: Technique) -> Any:
        return self.subject.module if technique.stage == "module" else self.graph_before(technique)

    def graph_before(self, technique: Technique) -> onnx.ModelProto:
        return self.untidy_graph if technique.name in OF_UNTIDY_GRAPHS else self.graph

    def workshop(self, **changes: Any) -> Workshop:
        return replace(workshop_of(self.subject), **changes)

    def apply(self, technique: Technique, **changes: Any) -> Any:
        return technique.apply(self.argument(technique), configured(technique), self.workshop(**changes))

    def _result_graph(self, technique: Technique) -> onnx.ModelProto:
        made = self.result(technique)
        return self.subject.export(made) if technique.stage == "module" else made

    def _scores(self, technique: Technique | None) -> Array:
        """Scores of the test rows, by the result or by the baseline."""
        graph = self.graph if technique is None else self.result_graph(technique)
        name = "baseline" if technique is None else technique.name
        assert self.subject.prepared is not None
        return scorer_of(graph, self.folder / name).score_rows(self.subject.prepared.test)


@pytest.fixture(scope="module")
def bench(small_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(subject_of(small_model), graph_of(small_model), tmp_path_factory.mktemp("techniques"))


def untidy(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with a normalization behind a hidden layer that leaves every number about as it was."""

    def change(copy: onnx.ModelProto) -> None:
        layer = next(node for node in copy.graph.node if node.op_type == "Gemm")
        width = weights(copy)[layer.input[2]].shape
        output, layer.output[0] = layer.output[0], "before"
        numbers = {"scale": 2.0, "bias": 1.0, "mean": 1.0, "variance": 4.0}
        for name, number in numbers.items():
            values = np.full(width, number, dtype=np.float32)
            copy.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        node = onnx.helper.make_node("BatchNormalization", ["before", *numbers], [output], "norm")
        copy.graph.node.insert(list(copy.graph.node).index(layer) + 1, node)

    return edited(graph, change)


def configured(technique: Technique) -> TechniqueConfig:
    return technique.configure(SETTINGS.get(technique.name, {}), "a test")


def content(model: Any) -> bytes:
    """Everything that a model is: every weight, and a module's layers and mode."""
    if isinstance(model, onnx.ModelProto):
        return bytes(model.SerializeToString(deterministic=True))
    assert isinstance(model, nn.Module)
    values = b"".join(name.encode() + one.numpy().tobytes() for name, one in model.state_dict().items())
    return f"{model} {model.training} {hooks(model)}".encode() + values


def hooks(module: nn.Module) -> int:
    return sum(len(one._forward_pre_hooks) + len(one._forward_hooks) for one in module.modules())


@every
def test_its_configuration_is_frozen_and_takes_no_unknown_field(technique: Technique) -> None:
    config = configured(technique)
    for name in type(config).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, name, getattr(config, name))
    with pytest.raises(ConfigurationError, match=rf"^a recipe \({technique.name}\): sparkle: Extra inputs"):
        technique.configure({**SETTINGS.get(technique.name, {}), "sparkle": 1}, "a recipe")


@every
def test_every_setting_and_the_technique_itself_say_what_they_are(technique: Technique) -> None:
    fields = technique.config.model_fields
    assert [name for name, field in fields.items() if not (field.description or "").endswith(".")] == []
    assert technique.summary.endswith(".")
    assert technique.source


@every
def test_it_gives_a_new_model_and_leaves_its_argument_alone(bench: Bench, technique: Technique) -> None:
    before = content(bench.argument(technique))
    teacher = content(bench.subject.module)
    made = bench.apply(technique)
    assert content(bench.argument(technique)) == before
    assert content(bench.subject.module) == teacher, "nor is the teacher changed"
    assert isinstance(made, nn.Module if technique.stage == "module" else onnx.ModelProto)
    assert made is not bench.argument(technique)
    assert content(made) != before
    assert technique.stage == "graph" or (hooks(made), made.training) == (0, False)


@every
def test_equal_inputs_and_seeds_give_equal_results(bench: Bench, technique: Technique) -> None:
    torch.manual_seed(1234)  # whatever was drawn before must not matter
    assert content(bench.apply(technique)) == content(bench.result(technique))


@every
def test_the_seed_is_what_draws_rows_and_weights(bench: Bench, technique: Technique) -> None:
    another = content(bench.apply(technique, seed=1))
    draws = technique.needs_rows and technique.name not in DRAWS_NOTHING
    assert (another != content(bench.result(technique))) == draws


@every
def test_the_result_keeps_the_graph_contract(bench: Bench, technique: Technique) -> None:
    graph = bench.result_graph(technique)
    onnx.checker.check_model(graph, full_check=technique.stage == "module")
    schema = bench.subject.encoder.schema
    inputs = {one.name for one in graph.graph.input}
    left_out = [one.name for one in schema.features if one.name not in inputs]
    assert bool(left_out) == (technique.name in LEAVES_FEATURES_OUT)
    check_contract(graph, schema, left_out)


@every
def test_the_result_is_smaller_where_it_does_not_only_prepare(bench: Bench, technique: Technique) -> None:
    def size(graph: onnx.ModelProto) -> int:
        values = weights(graph)
        if technique.name in TRADES_BYTES_FOR_PRODUCTS:
            return sum(values[node.input[1]].size for node in dense_nodes(graph))
        if technique.name in MAKES_ZEROS:
            return sum(int(np.count_nonzero(one)) for one in values.values())
        return sum(one.nbytes for one in values.values())

    made, before = size(bench.result_graph(technique)), size(bench.graph_before(technique))
    assert made == before if technique.name in PREPARES_FOR_OTHERS else made < before


@every
def test_scores_stay_close_to_the_baseline_without_mass_ties(bench: Bench, technique: Technique) -> None:
    ours, theirs = bench.scores(technique), bench.scores(None)
    assert ((ours > 0) & (ours < 1)).all()
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9
    assert len(np.unique(ours)) > 0.95 * len(np.unique(theirs))


@every
def test_a_score_does_not_depend_on_its_batch(bench: Bench, technique: Technique) -> None:
    assert bench.subject.prepared is not None
    together = bench.scores(technique)
    rows, scorer = bench.subject.prepared.test, scorer_of(bench.result_graph(technique), bench.folder / "one")
    alone = np.concatenate([scorer.score_rows(rows.take(np.array([row]))) for row in range(100)])
    moved = float(np.abs(together[:100] - alone).max())
    assert (moved <= 1e-6) != (technique.name in MOVED_BY_ITS_BATCH)


@every
def test_it_says_whether_it_needs_rows(bench: Bench, technique: Technique) -> None:
    if technique.needs_rows:
        with pytest.raises(CompressionFailed, match=r"needs rows, and the model's card has no \[data\]"):
            bench.apply(technique, prepared=None)
    else:
        assert content(bench.apply(technique, prepared=None)) == content(bench.result(technique))


@every
def test_progress_stays_between_0_and_1_and_never_falls(bench: Bench, technique: Technique) -> None:
    told: list[float] = []
    bench.apply(technique, progress=lambda done, what: told.append(done))
    assert told == sorted(told)
    assert all(0 <= done <= 1 for done in told)
    assert len(told) > 1 or technique.stage == "graph", "what trains says how far it is"


@every
def test_a_cancelled_step_ends_where_it_is_told(bench: Bench, technique: Technique) -> None:
    calls: list[str] = []
    bench.apply(technique, progress=lambda done, what: calls.append(what))
    for last in range(len(calls)):
        with pytest.raises(JobCancelled):
            bench.apply(technique, progress=_cancel_at(last))
    assert content(bench.apply(technique)) == content(bench.result(technique)), "nothing is left behind"


def _cancel_at(last: int) -> Callable[[float, str], None]:
    calls: list[str] = []

    def progress(done: float, what: str) -> None:
        calls.append(what)
        if len(calls) > last:
            raise JobCancelled(what)

    return progress


@of_graphs
def test_the_layers_that_give_the_score_stay_in_float(bench: Bench, technique: Technique) -> None:
    def last_weights(graph: onnx.ModelProto) -> list[list[float]]:
        last = [weights(graph)[node.input[1]] for node in last_dense_nodes(graph)]
        assert {values.dtype for values in last} == {np.dtype(np.float32)}
        return sorted(values.ravel().tolist() for values in last)

    assert len(last_weights(bench.graph)) == 2, "the cross network's head and the deep one's last layer"
    assert last_weights(bench.result(technique)) == last_weights(bench.graph)


@of_int8_products
@pytest.mark.parametrize(
    ("machine", "largest"),
    [(a_machine("sse4_2", "avx2"), 64), (a_machine("sse4_2", "avx512_vnni"), 127), (a_machine("asimd"), 127)],
    ids=["x86", "x86 with VNNI", "ARM"],
)
def test_weights_keep_to_7_bits_where_int8_products_saturate(
    bench: Bench, technique: Technique, machine: Any, largest: int
) -> None:
    made = weights(bench.apply(technique, machine=machine))
    int8 = [values.astype(int) for values in made.values() if values.dtype == np.int8 and values.ndim == 2]
    assert int8
    assert max(int(np.abs(values).max()) for values in int8) == largest
