"""The ranker that the peers share: what is batched has the answers of what is not."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from loadtest.peers.ranker import Ranker
from onnx import TensorProto, helper


@pytest.fixture
def ranker(tmp_path: Path) -> Ranker:
    """A graph whose score is the user's taste plus the item's worth."""
    inputs = [
        helper.make_tensor_value_info("taste", TensorProto.FLOAT, ["requests"]),
        helper.make_tensor_value_info("worth", TensorProto.FLOAT, ["rows"]),
        helper.make_tensor_value_info("row_request", TensorProto.INT64, ["rows"]),
    ]
    nodes = [
        helper.make_node("Gather", ["taste", "row_request"], ["spread"]),
        helper.make_node("Add", ["spread", "worth"], ["score"]),
    ]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])
    graph = helper.make_graph(nodes, "sum", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "user.npz", taste=np.array([0.0, 10.0], dtype=np.float32))
    np.savez(tmp_path / "item.npz", worth=np.array([3.0, 1.0, 2.0], dtype=np.float32))
    (tmp_path / "user_ids.json").write_text(json.dumps(["u", "v"]))
    (tmp_path / "item_ids.json").write_text(json.dumps(["a", "b", "c"]))
    return Ranker(str(tmp_path))


def test_the_best_come_first(ranker: Ranker) -> None:
    answer = ranker.rank({"user_id": "v", "candidates": ["b", "c", "a"], "k": 2})
    assert answer == {"items": [{"item_id": "a", "score": 13.0}, {"item_id": "c", "score": 12.0}]}


def test_requests_of_different_sizes_in_one_run_have_the_answers_of_one_by_one(ranker: Ranker) -> None:
    requests = [
        {"user_id": "u", "candidates": ["b", "a", "c"], "k": 2},
        {"user_id": "v", "candidates": ["c"], "k": 1},
        {"user_id": "u", "candidates": ["c", "b"], "k": 2},
    ]
    assert ranker.rank_many(requests) == [ranker.rank(one) for one in requests]
