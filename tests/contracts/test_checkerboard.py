"""Every technique on every architecture: a checkerboard's answer is known, and what was compressed still finds it.

A user likes an item when one of them is black and the other one white, and nothing but both ids together tells which.
Graphs are held to onnx's own reference evaluator, which shares no code with onnxruntime.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.compression.technique import Technique, techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.machine import this_machine
from app.model_card import ModelCard
from app.training.architecture import architectures
from app.training.data.source import Place
from app.training.export import export
from app.training.fit import predict
from app.training.metrics import auc
from app.training.rows import Prepared
from app.training.train import train
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import nn

from tests.compression.parts import ignore, scorer_of, weights
from tests.contracts.test_techniques import (
    MAKES_ZEROS,
    OF_UNTIDY_GRAPHS,
    PREPARES_FOR_OTHERS,
    SETTINGS,
    TRADES_BYTES_FOR_PRODUCTS,
    content,
    untidy,
)

SIDE = 24
RARE = 30
"""Items with one row each, which are no part of the board."""
FOUND = 0.95
"""Least AUC of whoever knows the board: chance is 0.5, and rare items have to be guessed."""
# What a graph's own arithmetic may differ by from the reference: rounding alone, or codes that fall on the other side.
EXACT, INT8 = 1e-5, 2e-2
MULTIPLIES_IN_INT8 = {"quantize_dynamic", "quantize_static"}
# Only a cross network has cross layers.
ONLY = {"prune_cross_layers": {"dcn_v2"}}
# Exports take seconds: of students and of what is pruned other contracts export each.
EXPORTED = {"tune_codebooks", "tune_quantized"}
OF_SMALL_TABLES: dict[str, dict[str, Any]] = {
    "drop_rows": {"min_count": 5, "min_rows": 1, "shared": "mean"},
    "factor_dense": {"energy": 0.999, "rows": 1000},
    "factor_tables": {"rank": 5, "min_rows": 20},
    "product_quantize_tables": {"subvector": 2, "clusters": 12, "min_rows": 20, "storage": "float32"},
    "tune_codebooks": {"epochs": 2, "subvector": 2, "clusters": 12, "min_rows": 20},
    "tune_quantized": {"epochs": 2, "table_bits": 4, "min_rows": 20},
}
PAIRS = [
    (architecture, name)
    for architecture in sorted(architectures())
    for name in techniques()
    if architecture in ONLY.get(name, {architecture})
]
pairs = pytest.mark.parametrize(("architecture", "name"), PAIRS, ids=[" ".join(pair) for pair in PAIRS])
graph_pairs = pytest.mark.parametrize(
    ("architecture", "name"),
    [pair for pair in PAIRS if techniques()[pair[1]].stage == "graph"],
    ids=[" ".join(pair) for pair in PAIRS if techniques()[pair[1]].stage == "graph"],
)


class MatMulNBits(OpRun):
    """onnxruntime's product with weights in blocks of codes, as its documentation says."""

    op_domain = "com.microsoft"

    def _run(self, a: Array, codes: Array, scales: Array, **fields: Any) -> tuple[Array]:
        out, size, bits = fields["N"], fields["block_size"], fields["bits"]
        blocks = codes.reshape(out, -1, codes.shape[-1])
        values = blocks if bits == 8 else np.stack([blocks & 15, blocks >> 4], axis=-1)
        values = values.reshape(out, -1, size).astype(np.float32) - 2 ** (bits - 1)
        weight = (values * scales.reshape(out, -1, 1)).reshape(out, -1)[:, : fields["K"]]
        return ((a @ weight.T).astype(np.float32),)


@dataclass(frozen=True)
class Player:
    """A network that knows the board, and its graph."""

    module: nn.Module
    graph: onnx.ModelProto
    prepared: Prepared

    def workshop(self) -> Workshop:
        return Workshop(self.prepared.encoder, self.prepared, 0, this_machine(), ignore, teacher=self.module)


def board(folder: Path) -> None:
    """Each square of the board eight times, and rare items; two columns say nothing."""
    rng = np.random.default_rng(0)
    squares = [(user, item) for user in range(SIDE) for item in range(SIDE)] * 8
    squares += [(int(rng.integers(SIDE)), SIDE + rare) for rare in range(RARE)]
    lines = [f"u{user},i{item},{rng.integers(4)},{(user + item) % 2}" for user, item in squares]
    (folder / "board.csv").write_text("\n".join(["user_id,item_id,device,label", *lines, ""]))
    items = [f"i{item},{rng.random():.3f}" for item in range(SIDE + RARE)]
    (folder / "items.csv").write_text("\n".join(["item_id,price", *items, ""]))


def card_of(architecture: str) -> ModelCard:
    features = [("user_id", "user"), ("device", "context"), ("item_id", "item")]
    return ModelCard.model_validate(
        {
            "name": "board",
            "title": "A checkerboard",
            "source": {
                "kind": "architecture",
                "architecture": architecture,
                "config": {"embedding_dimension": 8, "hidden": [64, 64]},
            },
            "schema": {
                "features": [
                    *({"name": name, "side": side, "kind": "categorical"} for name, side in features),
                    {"name": "price", "side": "item", "kind": "number"},
                ]
            },
            "data": {
                "source": "table",
                "config": {"interactions": "board.csv", "items": "items.csv"},
                "label": {"column": "label"},
                "split": {"kind": "random"},
            },
            "training": {"epochs": 12, "batch_size": 128, "learning_rate": 0.01, "patience": 12},
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("board")
    board(made)
    return made


@cache
def player(architecture: str, folder: Path) -> Player:
    """It is shared: do not change it."""
    torch.set_num_threads(1)
    trained = train(card_of(architecture), Place(folder, folder), ignore)
    return Player(trained.module, export(trained.module, trained.encoder), trained.prepared)


@cache
def compressed(architecture: str, name: str, folder: Path) -> Any:
    known, technique = player(architecture, folder), techniques()[name]
    return technique.apply(argument(known, technique), configured(technique), known.workshop())


def argument(known: Player, technique: Technique) -> Any:
    if technique.stage == "module":
        return known.module
    return untidy(known.graph) if technique.name in OF_UNTIDY_GRAPHS else known.graph


def configured(technique: Technique) -> Any:
    settings = SETTINGS.get(technique.name, {}) | OF_SMALL_TABLES.get(technique.name, {})
    if technique.name.startswith("prune_"):
        settings |= {"epochs": 6}
    if technique.name == "distill":
        settings |= {"architecture": "wide_and_deep", "epochs": 15, "unlabelled": 0}
    return technique.configure(settings, "a test")


def found(scores: Array, known: Player) -> float:
    return auc(known.prepared.test.labels, scores)


@pytest.mark.parametrize("architecture", sorted(architectures()))
def test_every_architecture_learns_the_board(architecture: str, folder: Path) -> None:
    known = player(architecture, folder)
    assert found(predict(known.module, known.prepared.test), known) > FOUND


@pairs
def test_the_answer_is_still_found_and_the_parent_is_as_it_was(
    architecture: str, name: str, folder: Path, tmp_path: Path
) -> None:
    known, technique = player(architecture, folder), techniques()[name]
    before = content(argument(known, technique))
    made = compressed(architecture, name, folder)
    assert content(argument(known, technique)) == before
    rows = known.prepared.test
    if technique.stage == "graph":
        assert found(scorer_of(made, tmp_path).score_rows(rows), known) > FOUND
        return
    logits = predict(made, rows)
    assert found(logits, known) > FOUND
    if name in EXPORTED:
        scores = scorer_of(export(made, known.prepared.encoder), tmp_path).score_rows(rows)
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=EXACT)


@graph_pairs
def test_a_graph_is_what_the_reference_says(
    architecture: str, name: str, folder: Path, tmp_path: Path
) -> None:
    known, made = player(architecture, folder), compressed(architecture, name, folder)
    rows = np.arange(200)
    inputs = known.prepared.test.inputs(rows)
    wanted = {one.name for one in made.graph.input}
    feed = {key: values for key, values in {**inputs, "row_request": rows}.items() if key in wanted}
    (reference,) = ReferenceEvaluator(made, new_ops=[MatMulNBits]).run(None, feed)
    scores = scorer_of(made, tmp_path).run(inputs, rows)
    tolerance = INT8 if name in MULTIPLIES_IN_INT8 else EXACT
    np.testing.assert_allclose(scores, reference, rtol=0, atol=tolerance)


@graph_pairs
def test_bytes_shrink_where_that_is_what_it_is_for(architecture: str, name: str, folder: Path) -> None:
    if name in PREPARES_FOR_OTHERS | TRADES_BYTES_FOR_PRODUCTS | MAKES_ZEROS:
        return
    known = player(architecture, folder)
    before, after = (
        sum(one.nbytes for one in weights(graph).values())
        for graph in (argument(known, techniques()[name]), compressed(architecture, name, folder))
    )
    assert after < before


@pytest.mark.parametrize("name", list(techniques()))
def test_a_configuration_comes_back_from_what_is_written_of_it(name: str) -> None:
    config = configured(techniques()[name])
    assert techniques()[name].configure(config.model_dump(mode="json"), "a test") == config
