"""Narrow tables: what is kept of them, who reads them narrow, and when nothing is gained."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.compression.frequency import row_frequencies
from app.compression.tables import Table, find_tables
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.architecture import architectures, build
from app.training.export import export
from app.training.graph_file import check_contract, read_graph
from app.training.rows import Prepared
from app.training.weights import is_external

from tests.compression.parts import edited, scorer_of, set_weight, weights

ITEMS = "embedding.tables.item_id.weight"
USERS = "embedding.tables.user_id.weight"
FACTOR = techniques()["factor_tables"]


def factor(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    config = FACTOR.configure({"min_rows": 100, **settings}, "a test")
    made: onnx.ModelProto = FACTOR.apply(graph, config, workshop)
    return made


def table_of(graph: onnx.ModelProto, name: str) -> Table:
    return next(one for one in find_tables(graph) if one.name == name)


def test_a_graph_gives_the_scores_of_its_tables_at_that_rank(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    made = factor(graph, workshop, rank=3)
    onnx.checker.check_model(made, full_check=True)
    stored = weights(made)

    def widen(copy: onnx.ModelProto) -> None:
        for name in (ITEMS, USERS):
            set_weight(copy, name, stored[f"{name}.narrow"] @ stored[f"{name}.widen"])

    assert (stored[f"{ITEMS}.narrow"].shape, stored[f"{ITEMS}.widen"].shape) == ((151, 3), (3, 8))
    assert not {ITEMS, USERS} & stored.keys()
    expected = scorer_of(edited(graph, widen), tmp_path / "expected").score_rows(prepared.validation)
    scores = scorer_of(made, tmp_path / "made").score_rows(prepared.validation)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-6)


def test_rows_that_are_looked_up_often_are_kept_better(graph: onnx.ModelProto, workshop: Workshop) -> None:
    table = table_of(graph, ITEMS)
    frequencies = row_frequencies(table, workshop.rows("a test")) + 1
    lost = {}
    for power in (0.0, 1.0):
        stored = weights(factor(graph, workshop, rank=3, frequency_power=power))
        errors = ((stored[f"{ITEMS}.narrow"] @ stored[f"{ITEMS}.widen"] - table.read()) ** 2).sum(axis=1)
        lost[power] = (errors.sum(), (frequencies * errors).sum())
    assert lost[1.0][1] < lost[0.0][1]
    assert lost[0.0][0] < lost[1.0][0]
    left = np.linalg.svd(table.read().astype(np.float64), compute_uv=False)[3:]
    assert lost[0.0][0] == pytest.approx((left**2).sum(), rel=1e-4), "no other product of that rank is nearer"


def test_energy_decides_each_tables_width(graph: onnx.ModelProto, workshop: Workshop) -> None:
    def thin(copy: onnx.ModelProto) -> None:
        set_weight(copy, ITEMS, weights(copy)[ITEMS] * np.array([1, 1, 0, 0, 0, 0, 0, 0], dtype=np.float32))

    stored = weights(factor(edited(graph, thin), workshop, energy=0.99999, frequency_power=0))
    assert stored[f"{ITEMS}.narrow"].shape == (151, 2)
    assert USERS in stored, "a table of full rank would grow"


class OneReader(torch.nn.Module):
    """A dense layer is all that reads the item's row."""

    def __init__(self, encoder: Any, *, crossed: bool) -> None:
        super().__init__()
        self.items = torch.nn.Embedding(encoder.cardinality("item_id"), 16)
        self.network = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        self.crossed = crossed

    def forward(self, inputs: Mapping[str, torch.Tensor], row_request: torch.Tensor) -> torch.Tensor:
        item = self.items(inputs["item_id"])
        logits: torch.Tensor = self.network(item).squeeze(1) + 0 * row_request
        return logits + (item * item).sum(dim=1) if self.crossed else logits


@pytest.mark.parametrize("crossed", [False, True])
def test_a_dense_layer_reads_narrow_rows_and_what_else_reads_them_wide_ones(
    workshop: Workshop, prepared: Prepared, tmp_path: Path, *, crossed: bool
) -> None:
    torch.manual_seed(0)
    graph = export(OneReader(workshop.encoder, crossed=crossed), workshop.encoder)
    made = factor(graph, workshop, rank=4)
    stored = weights(made)
    narrow = next(node.output[0] for node in made.graph.node if node.input[0] == "items.weight.narrow")
    readers = {node.op_type: node for node in made.graph.node if narrow in node.input}
    assert {stored[node.input[1]].shape for node in readers.values()} == (
        {(4, 8), (4, 16)} if crossed else {(4, 8)}
    )
    assert ("items.weight.widen" in stored) == crossed
    values = weights(graph)["items.weight"]
    kept = stored["items.weight.narrow"]
    assert np.linalg.matrix_rank(kept) == 4
    left, spread, right = np.linalg.svd(values, full_matrices=False)
    plain = factor(graph, workshop, rank=4, frequency_power=0)
    nearest = edited(
        graph, lambda copy: set_weight(copy, "items.weight", (left[:, :4] * spread[:4]) @ right[:4])
    )
    ours, theirs = (
        scorer_of(one, tmp_path / str(at)).score_rows(prepared.validation)
        for at, one in enumerate((plain, nearest))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", sorted(architectures()))
def test_every_architecture_keeps_the_scores_of_tables_that_have_that_rank(
    workshop: Workshop, prepared: Prepared, tmp_path: Path, name: str
) -> None:
    torch.manual_seed(0)
    module = build(name, {"embedding_dimension": 8}, workshop.encoder)
    graph = export(module.eval(), workshop.encoder)
    wide = [one.name for one in find_tables(graph) if one.rows >= 100 and one.dimension == 8]
    assert len(wide) == 2

    def thin(copy: onnx.ModelProto) -> None:
        for table in wide:
            values = weights(copy)[table] * np.float32(30)
            values[:, 4:] = values[:, :4] @ np.eye(4, dtype=np.float32)[::-1]
            set_weight(copy, table, values)

    low = edited(graph, thin)
    made = factor(low, workshop, energy=0.999999)
    check_contract(made, workshop.encoder.schema)
    assert {weights(made)[f"{table}.narrow"].shape[1] for table in wide} == {4}
    ours, theirs = (
        scorer_of(one, tmp_path / str(at)).score_rows(prepared.validation)
        for at, one in enumerate((made, low))
    )
    assert theirs.std() > 1e-4
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", ["quantize_tables", "product_quantize_tables", "factor_dense"])
def test_other_steps_follow(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path, name: str
) -> None:
    narrow = factor(graph, workshop, rank=4)
    settings = {
        "quantize_tables": {"min_rows": 1, "encoding": "standard"},
        "product_quantize_tables": {"subvector": 2, "clusters": 32, "min_rows": 100},
        "factor_dense": {"rows": 500},
    }
    technique = techniques()[name]
    made = technique.apply(narrow, technique.configure(settings[name], "a test"), workshop)
    if name != "factor_dense":
        assert f"{ITEMS}.narrow.codes" in weights(made)
    ours, theirs = (
        scorer_of(one, tmp_path / str(at)).score_rows(prepared.validation)
        for at, one in enumerate((made, narrow))
    )
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98


@pytest.mark.parametrize("settings", [{"rank": 8}, {"min_rows": 5000}, {"energy": 0.99999}], ids=str)
def test_where_no_table_gains_it_says_what_to_do(
    graph: onnx.ModelProto, workshop: Workshop, settings: dict[str, Any]
) -> None:
    with pytest.raises(
        CompressionFailed, match=r"no table of at least \d+ rows would get smaller; lower `energy`"
    ):
        factor(graph, workshop, **settings)


def test_values_that_are_not_finite_are_named(graph: onnx.ModelProto, workshop: Workshop) -> None:
    broken = weights(graph)[ITEMS].copy()
    broken[3, 2] = np.nan
    with pytest.raises(CompressionFailed, match=f"the table '{ITEMS}' has values that are not finite"):
        factor(edited(graph, lambda copy: set_weight(copy, ITEMS, broken)), workshop, rank=3)


def test_a_table_in_a_file_is_narrowed_into_a_file(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    scorer_of(graph, tmp_path / "graph")
    on_disk = read_graph(tmp_path / "graph" / "model.onnx", large_bytes=4000)
    assert is_external(table_of(on_disk, ITEMS).tensor)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made = factor(on_disk, replace(workshop, scratch=scratch), rank=3)
    narrow = next(one for one in made.graph.initializer if one.name == f"{ITEMS}.narrow")
    assert is_external(narrow)
    ours, theirs = (
        scorer_of(one, tmp_path / str(at)).score_rows(prepared.validation)
        for at, one in enumerate((made, factor(graph, workshop, rank=3)))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
