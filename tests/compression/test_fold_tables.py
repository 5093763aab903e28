"""Dense layers as sums of what each field adds: equal scores, fewer products, and nothing that cannot be rewritten."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from app.compression.graph import dense_nodes, remove_unused
from app.compression.tables import find_tables
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array, Encoder
from app.errors import CompressionFailed
from app.training.architecture import architectures, build
from app.training.export import export
from app.training.graph_file import check_contract
from torch import Tensor, nn

from tests.compression.parts import edited, weights
from tests.samples import an_encoder
from tests.training.inputs import Requests, requests_of, with_large_weights

NETWORKS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in sorted(architectures())]
NETWORKS += [("dcn_v2", {"structure": "stacked"}), ("dcn_v2", {"cross_rank": 3, "cross_layers": 3})]
REQUESTS = requests_of(an_encoder(), (1, 2, 40))


class Joined(nn.Module):
    """Everything is spread over the candidates first, and one dense layer reads it all side by side."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.users = nn.Embedding(encoder.cardinality("user_id"), 8)
        self.items = nn.Embedding(encoder.cardinality("item_id"), 8)
        self.history = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 1))
        self.network = nn.Sequential(nn.Linear(25, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        item = self.items(inputs["item_id"])
        user = torch.index_select(self.users(inputs["user_id"]), 0, row_request)
        history = torch.index_select(self.items(inputs["history"]), 0, row_request)
        pairs = torch.cat([history, item.unsqueeze(1).expand_as(history)], dim=2)
        taste = (self.history(pairs) * history).sum(dim=1)
        fields = [user, item, taste, inputs["year"].unsqueeze(1)]
        out: Tensor = self.network(torch.cat(fields, dim=1))
        return out.squeeze(1)


class Tied(nn.Module):
    """A table that is looked up alone, without other fields beside it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.items = nn.Embedding(encoder.cardinality("item_id"), 8)
        self.network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, inputs: Mapping[str, Tensor], row_request: Tensor) -> Tensor:
        out: Tensor = self.network(self.items(inputs["item_id"])).squeeze(1)
        return out + 0 * row_request


@cache
def tied() -> onnx.ModelProto:
    """The graph of a `Tied`. It is shared: steps leave their argument alone."""
    return export(with_large_weights(Tied(an_encoder())), an_encoder())


def fold(graph: onnx.ModelProto, workshop: Workshop, **config: Any) -> onnx.ModelProto:
    technique = techniques()["fold_tables"]
    made = technique.apply(graph, technique.configure(config, "a test"), workshop)
    assert isinstance(made, onnx.ModelProto)
    return made


def scores(graph: onnx.ModelProto, requests: Requests = REQUESTS) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {**requests.inputs, "row_request": requests.row_request}
    found: Array = session.run(["score"], {one.name: feed[one.name] for one in session.get_inputs()})[0]
    return found


def products(graph: onnx.ModelProto) -> int:
    return sum(weights(graph)[node.input[1]].size for node in dense_nodes(graph))


@pytest.fixture
def ours(workshop: Workshop) -> Workshop:
    """Surroundings for the schema of the samples."""
    return replace(workshop, encoder=an_encoder(), prepared=None, teacher=None)


@pytest.mark.parametrize(("name", "config"), NETWORKS, ids=str)
def test_every_architecture_gives_the_same_scores_by_fewer_products(
    ours: Workshop, name: str, config: dict[str, Any]
) -> None:
    module = with_large_weights(build(name, config, ours.encoder))
    graph = export(module, ours.encoder)
    made = fold(graph, ours, max_growth=16)
    onnx.checker.check_model(made, full_check=True)
    check_contract(made, ours.encoder.schema)
    np.testing.assert_allclose(scores(made), scores(graph), atol=2e-6, rtol=0)
    assert scores(graph).std() > 0.05
    assert products(made) < products(graph)


def test_a_module_of_ones_own_multiplies_request_values_once_per_request(ours: Workshop) -> None:
    graph = export(with_large_weights(Joined(ours.encoder)), ours.encoder)
    made = fold(graph, ours)
    np.testing.assert_allclose(scores(made), scores(graph), atol=2e-6, rtol=0)
    # The history's share of its pairs, and the user's of the network.
    spread = [
        node for node in made.graph.node if node.op_type == "Gather" and node.input[1] in _row_request(made)
    ]
    makers = {node.output[0]: node.op_type for node in made.graph.node}
    assert [makers[node.input[0]] for node in spread].count("MatMul") == 2


@pytest.mark.parametrize(("most", "lifted"), [(2, 2), (1.9, 1), (0.5, 0)])
def test_max_spread_bounds_the_values_of_a_request(ours: Workshop, most: float, lifted: int) -> None:
    """The network is twice as wide as the user's row, and the history's layer 1.5 times as wide as an item's."""
    graph = export(with_large_weights(Joined(ours.encoder)), ours.encoder)
    made = fold(graph, ours, max_spread=most)
    np.testing.assert_allclose(scores(made), scores(graph), atol=2e-6, rtol=0)
    makers = {node.output[0]: node.op_type for node in made.graph.node}
    spread = [
        one for one in made.graph.node if one.op_type == "Gather" and one.input[1] in _row_request(made)
    ]
    assert [makers[one.input[0]] for one in spread].count("MatMul") == lifted


def _row_request(graph: onnx.ModelProto) -> set[str]:
    found = {"row_request"}
    for node in graph.graph.node:
        if node.op_type in ("Reshape", "Identity", "Cast") and node.input[0] in found:
            found.add(node.output[0])
    return found


def test_a_table_alone_takes_the_bias_along_and_the_layer_is_gone(ours: Workshop) -> None:
    graph = tied()
    made = fold(graph, ours)
    np.testing.assert_allclose(scores(made), scores(graph), atol=2e-6, rtol=0)
    assert (len(dense_nodes(graph)), len(dense_nodes(made))) == (2, 1)
    assert not any(one.name == "items.weight" for one in made.graph.initializer), "nothing reads it any more"


@pytest.mark.parametrize(("growth", "folds"), [(2, True), (1.9, False)])
def test_max_growth_bounds_the_tables(ours: Workshop, growth: float, *, folds: bool) -> None:
    graph = tied()
    if folds:
        assert (6, 16) in {one.shape for one in weights(fold(graph, ours, max_growth=growth)).values()}
    else:
        with pytest.raises(CompressionFailed, match="no dense layer over float32 tables"):
            fold(graph, ours, max_growth=growth)


def test_what_is_folded_has_nothing_left_to_fold(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match="no dense layer over float32 tables"):
        fold(fold(graph, workshop), workshop)


def test_nodes_and_weights_that_nothing_reads_are_removed_and_inputs_stay(graph: onnx.ModelProto) -> None:
    def add(copy: onnx.ModelProto) -> None:
        copy.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "idle"))
        copy.graph.node.append(onnx.helper.make_node("Neg", ["idle"], ["minus"]))
        copy.graph.node.append(onnx.helper.make_node("Abs", ["minus"], ["plus"]))

    larger = edited(graph, add)
    remove_unused(larger)
    assert [one.output[0] for one in larger.graph.node] == [one.output[0] for one in graph.graph.node]
    assert set(weights(larger)) == set(weights(graph))
    assert [one.name for one in larger.graph.input] == [one.name for one in graph.graph.input]


@pytest.mark.parametrize("name", ["quantize_tables", "product_quantize_tables"])
def test_folded_tables_can_be_compressed(graph: onnx.ModelProto, workshop: Workshop, name: str) -> None:
    folded = fold(graph, workshop, max_growth=16)
    new = {one.name for one in find_tables(folded)} - {one.name for one in find_tables(graph)}
    assert new, "they are found as tables"
    settings = {"min_rows": 100} | ({"clusters": 16} if name == "product_quantize_tables" else {})
    technique = techniques()[name]
    made = technique.apply(folded, technique.configure(settings, "a test"), workshop)
    assert {one.name for one in find_tables(folded) if one.name in new and one.rows >= 100} - set(
        weights(made)
    )
    assert sum(one.nbytes for one in weights(made).values()) < sum(
        one.nbytes for one in weights(folded).values()
    )
