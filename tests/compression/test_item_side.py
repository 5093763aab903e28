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


def test_outputs_that_are_left_out_are_no_values(tmp_path: Path) -> None:
    written(
        tmp_path, "a = Mul(price, three) b = Dropout(a) c = Add(b, spread) d = Dropout(c) score = Sigmoid(d)"
    )
    model = onnx.load(tmp_path / GRAPH_FILE)
    for node in model.graph.node:
        if node.op_type == "Dropout":
            node.output.append("")
    write_graph(model, tmp_path)
    assert cut_item_side(tmp_path, SCHEMA, TRIAL) is None
    assert reads(tmp_path / REST_GRAPH_FILE) == {"age", "row_request", "b"}


def test_a_sequence_is_no_value_of_an_item(tmp_path: Path) -> None:
    body = "a = Mul(price, three) s = SequenceConstruct(a) n = Shape(spread) z = ReduceMin<keepdims = 0>(n) "
    written(tmp_path, body + "k = Sub(z, z) b = SequenceAt(s, k) c = Add(b, spread) score = Sigmoid(c)")
    assert cut_item_side(tmp_path, SCHEMA, TRIAL) is None
    assert reads(tmp_path / REST_GRAPH_FILE) == {"age", "row_request", "a"}


def test_a_catalog_of_one_item_is_enough(tmp_path: Path) -> None:
    written(tmp_path, "a = Mul(price, three) c = Add(a, spread) score = Sigmoid(c)")
    one = Trial(TRIAL.requests, {name: values[:1] for name, values in TRIAL.items.items()})
    assert cut_item_side(tmp_path, SCHEMA, one) is None


@pytest.mark.parametrize("ids", [9, 4000])
def test_slices_of_a_layer_over_both_sides_come_to_the_weights_if_they_are_few(
    tmp_path: Path, ids: int
) -> None:
    """Beside a table of 4,000 ids they are few, beside one of 9 ids they are not."""
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        ranker (int64[R] user_id, float[R] age, int64[C] item_id, float[C] price, int64[C] row_request)
        => (float[C] score) <int64[1] last = {1}> {
            user = Gather(users, user_id)
            spread = Gather(user, row_request)
            item = Gather(items, item_id)
            both = Concat<axis = 1>(spread, item)
            hidden = MatMul(both, first)
            active = Relu(hidden)
            logit = MatMul(active, second)
            flat = Squeeze(logit, last)
            score = Sigmoid(flat)
        }"""
    )
    shapes = {"users": (ids, 32), "items": (ids, 32), "first": (64, 32), "second": (32, 1)}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(RANDOM.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    )
    write_graph(model, tmp_path)
    before = (tmp_path / "model.onnx.data").stat().st_size
    assert cut_item_side(tmp_path, SCHEMA, TRIAL) is None
    assert reads(tmp_path / REST_GRAPH_FILE) == {
        "user_id",
        "row_request",
        "hidden.matmul_0" if ids == 4000 else "item",
    }
    grown = (tmp_path / "model.onnx.data").stat().st_size - before
    assert (64 * 32 * 4 <= grown <= 64 * 32 * 4 + 8192) if ids == 4000 else grown == 0
    assert (tmp_path / ITEMS_GRAPH_FILE).stat().st_size < 2000
