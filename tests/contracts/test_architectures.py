"""What every architecture must do. A new file in app/training/architectures/ is tested here by itself."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from app.artifact import REST_GRAPH_FILE
from app.compression.item_side import Trial, cut_item_side
from app.compression.row_codes import unpacked
from app.compression.scorer import Scorer
from app.compression.tables import find_tables
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array, Encoder
from app.errors import ConfigurationError
from app.machine import this_machine
from app.schema import FeatureSchema
from app.serving.item_side import CutSession
from app.training import architectures as folder_of_architectures
from app.training.architecture import architectures, build
from app.training.checkpoint import load_weights, save_weights
from app.training.export import export
from app.training.fit import FitResult, TrainingConfig, fit
from app.training.graph_file import check_contract, read_graph, write_graph
from torch import nn

from tests.compression.parts import scorer_of, set_weight, weights
from tests.samples import a_schema, an_encoder
from tests.training.graph_hashes import same_weights, sha256
from tests.training.inputs import Requests, requests_of, with_large_weights
from tests.training.lessons import click_lesson, clicks, silent

NAMES = sorted(architectures())
# Settings that make another network than the defaults do.
FURTHER: list[tuple[str, dict[str, Any]]] = [
    ("dcn_v2", {"structure": "stacked", "hidden": [16]}),
    ("dcn_v2", {"cross_rank": 3, "cross_layers": 3, "dropout": 0.5}),
    ("deepfm", {"tables": {"item_id": {"kind": "quotient_remainder", "rows": 2}}}),
    (
        "two_tower",
        {"tables": {name: {"kind": "random_offsets", "rows": 7} for name in ("item_id", "genres")}},
    ),
]
COUNTS = (1, 2, 100, 5000)
TOLERANCE = 1e-4


def items_alone() -> Encoder:
    """The encoder of a model without user and context features."""
    whole = an_encoder()
    features = [one.model_dump() for one in whole.schema.item_features]
    vocabularies = {name: ids for name, ids in whole.vocabularies.items() if name != "user_id"}
    return Encoder(FeatureSchema.model_validate({"features": features}), vocabularies, whole.scales)


ENCODERS = {"every kind": an_encoder(), "items alone": items_alone()}
NETWORKS: list[tuple[str, dict[str, Any], str]] = [
    (name, {}, encoder) for encoder in ENCODERS for name in NAMES
]
NETWORKS += [(name, config, "every kind") for name, config in FURTHER]


@dataclass(frozen=True)
class Exported:
    """A module, its graph, and the graph on disk."""

    encoder: Encoder
    module: nn.Module
    graph: onnx.ModelProto
    folder: Path

    def scores_in_memory(self, requests: Requests) -> Array:
        session = ort.InferenceSession(self.graph.SerializeToString(), providers=["CPUExecutionProvider"])
        scores: Array = session.run(["score"], {**requests.inputs, "row_request": requests.row_request})[0]
        return scores

    def scores_from_disk(self, requests: Requests) -> Array:
        return Scorer(self.folder).run(requests.inputs, requests.row_request)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def made(place: int) -> tuple[nn.Module, onnx.ModelProto]:
    """A network of NETWORKS and its graph: an export takes a second or two, so each is made once."""
    name, config, encoder = NETWORKS[place]
    module = with_large_weights(build(name, config, ENCODERS[encoder]))
    return module, export(module, ENCODERS[encoder])


@pytest.fixture(
    scope="module", params=range(len(NETWORKS)), ids=[f"{name}-{who}-{more}" for name, more, who in NETWORKS]
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    module, graph = made(request.param)
    folder = tmp_path_factory.mktemp("graph")
    write_graph(graph, folder)
    return Exported(ENCODERS[NETWORKS[request.param][2]], module, graph, folder)


def test_every_file_of_the_folder_is_an_architecture() -> None:
    files = {path.stem for path in Path(folder_of_architectures.__path__[0]).glob("[a-z]*.py")}
    assert set(architectures()) == files
    assert all(one.source for one in architectures().values()), "each says which paper it follows"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_gives_a_logit_for_each_candidate(name: str, encoder: str) -> None:
    module = build(name, {}, ENCODERS[encoder])
    logits = requests_of(ENCODERS[encoder], [2, 1, 4]).logits(module)
    assert (logits.shape, logits.dtype) == ((7,), np.float32)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_takes_part(name: str) -> None:
    module = with_large_weights(build(name, {}, an_encoder())).train()
    module(*requests_of(an_encoder(), [20, 20, 20, 20, 20]).tensors()).sum().backward()
    idle = [key for key, one in module.named_parameters() if one.grad is None or not one.grad.any()]
    assert idle == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"no_such_setting": 1}, "no_such_setting: Extra inputs are not permitted"),
        ({"hidden": []}, "hidden: "),
        ({"hidden": [-4]}, r"hidden\.0: "),
        ({"embedding_dimension": "wide"}, "embedding_dimension: "),
    ],
)
def test_a_wrong_setting_is_named(name: str, config: Mapping[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"architecture '{name}': {why}"):
        build(name, config, an_encoder())


def trained(name: str, seed: int = 0) -> tuple[nn.Module, FitResult]:
    torch.manual_seed(seed)
    module = build(name, {}, clicks().encoder)
    config = TrainingConfig(epochs=3, batch_size=128, learning_rate=0.01, seed=seed)
    return module, fit(module, click_lesson(), config, silent)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_the_same_from_the_same_seed(name: str) -> None:
    (one, result), (same, again), (other, _) = trained(name), trained(name), trained(name, seed=1)
    assert max(result.validation_auc) > 0.75
    assert result.validation_auc == again.validation_auc
    weights, equal, different = (module.state_dict() for module in (one, same, other))
    assert all(torch.equal(value, equal[key]) for key, value in weights.items())
    assert not all(torch.equal(value, different[key]) for key, value in weights.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_gives_the_same_scores(name: str, tmp_path: Path) -> None:
    module, other = same_weights(name), build(name, {}, an_encoder())
    save_weights(module, tmp_path / "w.safetensors", an_encoder().sha256)
    load_weights(other, tmp_path / "w.safetensors")
    requests = requests_of(an_encoder(), [5, 5])
    assert requests.logits(other).tolist() == requests.logits(module).tolist()


def test_its_graph_keeps_the_contract(exported: Exported) -> None:
    onnx.checker.check_model(exported.graph, full_check=True)
    check_contract(exported.graph, exported.encoder.schema)
    check_contract(read_graph(exported.folder / "model.onnx"), exported.encoder.schema)


@pytest.mark.parametrize("count", COUNTS)
def test_its_graph_scores_one_request_as_torch_does(exported: Exported, count: int) -> None:
    requests = requests_of(exported.encoder, [count], seed=count)
    expected = requests.scores(exported.module)
    if count > 2:
        assert expected.std() > 0.05, "scores that are all alike would prove nothing"
    for found in (exported.scores_in_memory(requests), exported.scores_from_disk(requests)):
        assert (found.shape, found.dtype) == ((count,), np.float32)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("counts", [(3, 1, 100, 7), (1, 2, 1), (5000, 40)])
def test_its_graph_scores_many_requests_as_each_alone(exported: Exported, counts: tuple[int, ...]) -> None:
    requests = requests_of(exported.encoder, counts)
    together = exported.scores_from_disk(requests)
    np.testing.assert_allclose(together, exported.scores_in_memory(requests), rtol=0, atol=1e-6)
    np.testing.assert_allclose(together, requests.scores(exported.module), rtol=0, atol=TOLERANCE)
    for number, count in enumerate(counts):
        alone = exported.scores_from_disk(requests.one(number))
        assert len(alone) == count
        np.testing.assert_allclose(together[requests.row_request == number], alone, rtol=0, atol=1e-5)


def test_torch_scores_many_requests_as_each_alone(exported: Exported) -> None:
    requests = requests_of(exported.encoder, (3, 1, 100, 7))
    together = requests.logits(exported.module)
    for number in range(4):
        alone = requests.one(number).logits(exported.module)
        np.testing.assert_allclose(together[requests.row_request == number], alone, rtol=1e-4, atol=1e-5)


def test_equal_weights_give_equal_bytes_in_another_process() -> None:
    """There, sets and dictionaries of texts have another order."""
    environment = os.environ | {"PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-m", "tests.training.graph_hashes"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = dict(line.split() for line in done.stdout.splitlines())
    here = {name: NETWORKS.index((name, {}, "every kind")) for name in NAMES}
    assert there == {name: sha256(made(place)[1]) for name, place in here.items()}


def test_the_schema_of_these_tests_has_a_feature_of_every_kind() -> None:
    kinds = {(feature.kind, getattr(feature, "encoding", None)) for feature in a_schema().features}
    assert {kind for kind, _ in kinds} == {"categorical", "multi", "history", "number", "vector"}
    assert {("categorical", "hash"), ("multi", "hash")} <= kinds


@pytest.mark.parametrize(
    "settings", [{"bits": 8}, {"bits": 4}, {"bits": 4, "symmetric": True}, {"bits": 2}], ids=str
)
def test_quantized_tables_give_what_their_codes_say(
    exported: Exported, settings: dict[str, Any], tmp_path: Path
) -> None:
    technique = techniques()["quantize_tables"]
    config = technique.configure({**settings, "encoding": "standard", "min_rows": 1}, "a test")
    workshop = Workshop(exported.encoder, None, 0, this_machine(), lambda done, what: None)
    made = technique.apply(exported.graph, config, workshop)
    check_contract(made, exported.encoder.schema)
    stored, decoded = weights(made), onnx.ModelProto()
    decoded.CopyFrom(exported.graph)
    tables = [one for one in find_tables(exported.graph) if f"{one.name}.codes" in stored]
    assert len(tables) >= len(exported.encoder.schema.tables)
    for table in tables:
        codes, step = (stored[f"{table.name}.{part}"] for part in ("codes", "step"))
        low = stored.get(f"{table.name}.low", -(2 ** (settings["bits"] - 1)) * step.astype(np.float32))
        numbers = unpacked(codes, settings["bits"])[:, : table.dimension].astype(np.float32)
        set_weight(decoded, table.name, numbers * step.astype(np.float32) + low.astype(np.float32))
    requests = requests_of(exported.encoder, COUNTS)
    ours, theirs = (
        scorer_of(graph, tmp_path / name).run(requests.inputs, requests.row_request)
        for name, graph in (("quantized", made), ("decoded", decoded))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_its_item_side_can_be_computed_beforehand(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "network" / "variant" / "version"
    shutil.copytree(exported.folder, folder)
    schema, requests = exported.encoder.schema, requests_of(exported.encoder, [40, 1, 30, 2])
    items = {one.name: requests.inputs[one.name] for one in schema.item_features}
    asked = {one.name: requests.inputs[one.name] for one in schema.request_features}
    reason = cut_item_side(folder, schema, Trial(asked, items))
    if not asked:
        assert reason == "nothing, or everything, is computed from item features alone"
        return
    assert reason is None
    cut = CutSession(folder, schema, threads=1, items=items)
    cut.compute()
    wanted = exported.scores_from_disk(requests)
    every = np.arange(len(wanted), dtype=np.int64)
    assert np.abs(cut.run_catalog(asked, every, requests.row_request) - wanted).max() < TOLERANCE
    assert np.abs(cut.run(requests.inputs, requests.row_request) - wanted).max() < TOLERANCE
    left = [one for one in onnx.load(folder / REST_GRAPH_FILE).graph.node if one.op_type == "Gather"]
    assert not {one.input[1] for one in left} & items.keys(), "all of an item's look-ups are done before"
