"""Bring your own: a ready graph, a module of one's own, and a model without data, each from card to verdict."""

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from app.artifact import GRAPH_FILE, Manifest, read_report
from app.compression.scorer import Scorer
from app.compression.site import Outcome
from app.errors import CompressionFailed, ConfigurationError
from app.model_card import read_card
from app.store import CATALOG, STAGING
from app.training.data.source import Place
from app.training.graph_file import write_graph
from app.training.rows import Prepared
from app.training.train import save, train
from onnx import helper

from tests.compression.parts import READY_CARD, edited, ready_model, set_weight, weights
from tests.small_model import CARD, NAME, SmallModel

RANKER = """
import torch
from torch import nn


class Ranker(nn.Module):
    def __init__(self, encoder, width):
        super().__init__()
        self.users = nn.Embedding(encoder.cardinality("user_id"), width)
        self.items = nn.Embedding(encoder.cardinality("item_id"), width)
        self.attention = nn.Sequential(nn.Linear(2 * width, 32), nn.Sigmoid(), nn.Linear(32, 1))
        self.network = nn.Sequential(
            nn.Linear(3 * width + 1, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def forward(self, inputs, row_request):
        item = self.items(inputs["item_id"])
        user = torch.index_select(self.users(inputs["user_id"]), 0, row_request)
        history = torch.index_select(self.items(inputs["history"]), 0, row_request)
        pairs = torch.cat([history, item.unsqueeze(1).expand_as(history)], dim=2)
        taste = (self.attention(pairs) * history).sum(dim=1)
        return self.network(torch.cat([user, item, taste, inputs["price"].unsqueeze(1)], dim=1)).squeeze(1)


def build(encoder, width=8):
    return Ranker(encoder, width)
"""
ENTRY_CARD = (
    CARD.replace(
        'kind = "architecture"\narchitecture = "dcn_v2"\n',
        'kind = "entry_point"\nentry_point = "own_ranker:build"\n',
    )
    .replace("config = { embedding_dimension = 8, hidden = [32, 16] }", "config = { width = 8 }")
    .replace(
        'name = "int8-dynamic"\nsteps = [{ technique = "quantize_dynamic" }]',
        'name = "pruned-int8"\n'
        'steps = [{ technique = "prune_neurons", epochs = 1 }, { technique = "quantize_static" }]',
    )
)


def active(model: SmallModel) -> dict[str, Manifest]:
    versions = model.store.active(NAME).state.versions
    return {variant: model.store.manifest(NAME, variant, version) for variant, version in versions.items()}


def verdicts(outcomes: list[Outcome]) -> dict[str, str]:
    return {one.variant: one.outcome for one in outcomes}


def without_data(card: str) -> str:
    """The card without [data], [training] and the recipe that needs rows."""
    card = re.sub(r"\[data\]\n.*?(?=\[budget\])", "", card, flags=re.DOTALL)
    return card[: card.index('[[recipes]]\nname = "int8-static"')]


def test_a_ready_graph_with_external_data_gets_its_verdicts(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    model = ready_model(small_model, graph, tmp_path)
    before = {path: path.read_bytes() for path in (model.models / NAME).iterdir()}
    assert verdicts(model.compress()) == {
        "baseline": "baseline",
        "int8-dynamic": "rejected",
        "int8-static": "passed",
    }
    assert {path: path.read_bytes() for path in (model.models / NAME).iterdir()} == before
    report = read_report(model.store.folder(NAME, "int8-static", active(model)["int8-static"].version))
    assert report.quality is not None
    assert report.quality.auc_ratio.low > 0.95
    assert report.size.compression_ratio > 1.2


def test_a_module_of_ones_own_is_pruned_and_quantized(tmp_path: Path, small_model: SmallModel) -> None:
    home = tmp_path / "models" / NAME
    home.mkdir(parents=True)
    (home / "own_ranker.py").write_text(RANKER)
    (home / "model.toml").write_text(ENTRY_CARD)
    card, place = read_card(home), Place(small_model.cache, home)
    save(train(card, place, lambda done, what: None), card, home)
    model = SmallModel(home.parent, tmp_path / "store", small_model.cache)
    outcomes = verdicts(model.compress())
    assert set(outcomes) == {"baseline", "pruned-int8", "int8-static"}
    assert set(outcomes.values()) <= {"baseline", "passed", "rejected"}
    pruned, static, baseline = (active(model)[name] for name in ("pruned-int8", "int8-static", "baseline"))
    sizes = [
        read_report(model.store.folder(NAME, one.variant, one.version)).size.artifact_bytes
        for one in (pruned, static, baseline)
    ]
    assert sizes == sorted(sizes)
    assert [step["technique"] for step in (pruned.recipe or {})["steps"]] == [
        "prune_neurons",
        "quantize_static",
    ]


@pytest.mark.parametrize("kind", ["architecture", "onnx"])
def test_without_data_there_is_a_baseline_and_nothing_can_be_proven(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path, kind: str
) -> None:
    if kind == "onnx":
        model = ready_model(small_model, graph, tmp_path, without_data(READY_CARD))
    else:
        model = small_model.copy(tmp_path)
        (model.models / NAME / "model.toml").write_text(without_data(CARD))
        model = SmallModel(model.models, tmp_path / "another", small_model.cache)
    baseline, variant = model.compress()
    assert (baseline.outcome, variant.outcome) == ("baseline", "rejected")
    assert variant.reason.endswith("so its quality cannot be proven")
    manifest = active(model)["int8-dynamic"]
    report = read_report(model.store.folder(NAME, "int8-dynamic", manifest.version))
    assert (report.quality, report.agreement) == (None, None)
    assert report.latency_at(100) is not None, "but its speed is measured"
    assert manifest.catalog is not None
    assert (model.store.folder(NAME, CATALOG, manifest.catalog) / "encoder.json").is_file()


def test_without_data_a_recipe_that_needs_rows_is_refused_before_anything_is_made(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    card = re.sub(r"\[data\]\n.*?(?=\[budget\])", "", READY_CARD, flags=re.DOTALL)
    model = ready_model(small_model, graph, tmp_path, card)
    with pytest.raises(
        ConfigurationError, match=r"^recipe 'int8-static', step 1 \(quantize_static\): it needs rows"
    ):
        model.compress()
    assert not model.store_folder.exists()


def unknown_operator(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type, node.domain = "Sparkle", "mine"
    graph.opset_import.add(domain="mine", version=1)


def short_table(graph: onnx.ModelProto) -> None:
    name = "embedding.tables.user_id.weight"
    set_weight(graph, name, weights(graph)[name][:20])


def not_numbers(graph: onnx.ModelProto) -> None:
    name = "embedding.tables.user_id.weight"
    set_weight(graph, name, weights(graph)[name] * float("nan"))


def another_output(graph: onnx.ModelProto) -> None:
    graph.graph.node.append(helper.make_node("Neg", ["score"], ["minus"]))
    graph.graph.output.append(helper.make_tensor_value_info("minus", onnx.TensorProto.FLOAT, ["rows"]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unknown_operator, "^onnxruntime cannot load the graph: .*Sparkle"),
        (short_table, "^onnxruntime cannot run the graph: .*out of data bounds"),
        (not_numbers, "^the graph gives scores that are not finite numbers$"),
        (another_output, "^the graph must have one output, 'score'; it has: score, minus$"),
    ],
)
def test_a_ready_graph_that_cannot_work_is_refused_and_nothing_serves(
    small_model: SmallModel,
    graph: onnx.ModelProto,
    tmp_path: Path,
    damage: Callable[[onnx.ModelProto], None],
    message: str,
) -> None:
    model = ready_model(small_model, edited(graph, damage), tmp_path)
    with pytest.raises((CompressionFailed, ConfigurationError), match=message) as refused:
        model.compress()
    assert str(tmp_path) not in refused.value.message
    assert model.store.active(NAME).state.versions == {}
    assert model.store.variants(NAME) == []
    assert list((model.store_folder / STAGING).iterdir()) == []


def test_the_baseline_of_a_ready_graph_gives_the_scores_that_the_graph_gave(
    compressed: SmallModel, graph: onnx.ModelProto, prepared: Prepared, tmp_path: Path
) -> None:
    write_graph(graph, tmp_path)
    published = compressed.store.folder(NAME, "baseline", active(compressed)["baseline"].version)
    ours, theirs = (Scorer(folder).score_rows(prepared.test) for folder in (published, tmp_path))
    assert (ours == theirs).all()
    assert (published / GRAPH_FILE).is_file()
