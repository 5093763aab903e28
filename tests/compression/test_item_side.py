"""Where a graph may be cut between what is of an item and what is of a request, and where not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from app.artifact import GRAPH_FILE, GRAPH_FILES, ITEMS_GRAPH_FILE, REST_GRAPH_FILE
from app.compression.bench import graph_bytes
from app.compression.item_side import Trial, cut_item_side
from app.schema import FeatureSchema
from app.training.graph_file import write_graph
from onnx import parser

SCHEMA = FeatureSchema.model_validate(
    {
        "features": [
            {"name": "user_id", "side": "user", "kind": "categorical"},
            {"name": "age", "side": "user", "kind": "number"},
            {"name": "item_id", "side": "item", "kind": "categorical"},
            {"name": "price", "side": "item", "kind": "number"},
        ]
    }
)
RANDOM = np.random.default_rng(3)
TRIAL = Trial(
    {
        "user_id": RANDOM.integers(9, size=20),
        "age": RANDOM.standard_normal(20).astype(np.float32),
    },
    {
        "item_id": RANDOM.integers(9, size=30),
        "price": RANDOM.standard_normal(30).astype(np.float32),
    },
)


def written(folder: Path, body: str) -> Path:
    """A graph of the two prices and ages, as float32 [rows], whose nodes are `body`."""
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 21]>
        ranker (int64[R] user_id, float[R] age, int64[C] item_id, float[C] price, int64[C] row_request)
        => (float[C] score) <float three = {{3.0}}, float[1] ones = {{1.0}}, int64[1] first = {{0}}> {{
            spread = Gather(age, row_request)
            {body}
        }}"""
    )
    write_graph(model, folder)
    return folder


def reads(path: Path) -> set[str]:
    return {one.name for one in onnx.load(path).graph.input}


def test_what_is_of_the_item_alone_is_cut_off(tmp_path: Path) -> None:
    written(tmp_path, "a = Mul(price, three) b = Sqrt(a) c = Add(b, spread) score = Sigmoid(c)")
    whole = graph_bytes(tmp_path)
    trial = Trial(TRIAL.requests, {**TRIAL.items, "price": np.abs(TRIAL.items["price"])})
    assert cut_item_side(tmp_path, SCHEMA, trial) is None
    assert reads(tmp_path / ITEMS_GRAPH_FILE) == {"price"}
    assert reads(tmp_path / REST_GRAPH_FILE) == {"age", "row_request", "b"}
    assert graph_bytes(tmp_path) > whole, "the parts count too"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("c = Add(price, spread) score = Sigmoid(c)", "nothing, or everything"),
        ("b = Mul(price, three) score = Sigmoid(b)", "nothing, or everything"),
        (
            "m = ReduceMax<keepdims = 1>(price, first) b = Sub(price, m) c = Add(b, spread) score = Sigmoid(c)",
            "depends on the others",
        ),
    ],
)
def test_what_cannot_be_cut_stays_whole_and_says_why(tmp_path: Path, body: str, why: str) -> None:
    reason = cut_item_side(written(tmp_path, body), SCHEMA, TRIAL)
    assert reason is not None
    assert why in reason
    assert not {path.name for path in tmp_path.iterdir()} & {ITEMS_GRAPH_FILE, REST_GRAPH_FILE}


def test_a_number_of_items_is_no_value_of_an_item(tmp_path: Path) -> None:
    body = "n = Shape(price) o = Expand(ones, n) b = Mul(price, three) d = Add(b, o) c = Add(d, spread) "
    written(tmp_path, body + "e = Expand(c, n) score = Sigmoid(e)")
    assert cut_item_side(tmp_path, SCHEMA, TRIAL) is None
    assert reads(tmp_path / REST_GRAPH_FILE) == {"age", "row_request", "price", "b"}


def test_both_parts_point_into_the_weights_of_the_whole(tmp_path: Path) -> None:
    table = ", ".join(["0.5"] * 4000)
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 21]>
        ranker (int64[R] user_id, float[R] age, int64[C] item_id, float[C] price, int64[C] row_request)
        => (float[C] score) <float[1000, 4] table = {{{table}}}, int64[1] last = {{1}}> {{
            spread = Gather(age, row_request)
            found = Gather(table, item_id)
            a = ReduceSum<keepdims = 0>(found, last)
            c = Add(a, spread)
            score = Sigmoid(c)
        }}"""
    )
    write_graph(model, tmp_path)
    assert cut_item_side(tmp_path, SCHEMA, TRIAL) is None
    assert (tmp_path / ITEMS_GRAPH_FILE).stat().st_size < 1000
    assert {path.name for path in tmp_path.iterdir()} == set(GRAPH_FILES)
    (tmp_path / GRAPH_FILE).unlink()
    light = onnx.load(tmp_path / ITEMS_GRAPH_FILE)
    assert onnx.numpy_helper.to_array(light.graph.initializer[0]).shape == (1000, 4)
