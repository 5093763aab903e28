"""A model whose one table is as large as wanted: a ready ONNX graph, made and published by the command line.

Its rows are found by a hash, so that no list of ids is needed, and a request can touch any row of the table.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from loadtest.asks import Ask, Truth
from loadtest.measure import Material
from loadtest.prepare import Place

NAME = "large"
_USERS = 1024
_CHUNK_ROWS = 1 << 18
_TABLE_FILE = "slots.data"
_CARD = """
name = "large"
title = "One large table"

[source]
kind = "onnx"

[schema]
features = [
    {{ name = "taste", side = "user", kind = "categorical", encoding = "hash", buckets = {users} }},
    {{ name = "slot", side = "item", kind = "categorical", encoding = "hash", buckets = {slots} }},
]

[profile]
candidates = [100]
samples = 30
"""


class LargeModel:
    """The model below an empty folder, with a store of its own: score = sigmoid(taste . slot).

    `recipes` is the end of its model card, as TOML.
    """

    def __init__(self, folder: Path, table_bytes: int, dimension: int = 64, recipes: str = "") -> None:
        self.dimension = dimension
        self.rows = table_bytes // (4 * dimension)
        self.place = Place(NAME, folder / "models", folder / "store")
        self.compress_command = (
            *("compress", NAME, "--models", self.place.models, "--store", self.place.store),
            *("--cache", folder / "cache"),
        )
        """What makes and publishes its baseline and its variants."""
        self._recipes = recipes
        self._home = self.place.models / NAME
        self._tastes = np.random.default_rng(1).standard_normal((_USERS, dimension), dtype=np.float32)

    @property
    def table_bytes(self) -> int:
        """Bytes of the table."""
        return self.rows * self.dimension * 4

    def write(self) -> None:
        """Write the model's folder, the table some rows at a time."""
        self._home.mkdir(parents=True)
        buckets = {"users": _USERS - 1, "slots": self.rows - 1}
        (self._home / "model.toml").write_text(_CARD.format(**buckets) + self._recipes)
        features = [
            {"name": name, "side": side, "kind": "categorical", "encoding": "hash", "buckets": count}
            for name, side, count in (
                ("taste", "user", buckets["users"]),
                ("slot", "item", buckets["slots"]),
            )
        ]
        encoder = {"schema": {"features": features}, "vocabularies": {}, "scales": {}}
        (self._home / "encoder.json").write_text(json.dumps(encoder))
        (self._home / "model.onnx").write_bytes(self._graph().SerializeToString())
        rng = np.random.default_rng(0)
        # Numbers are drawn once and scaled anew for each chunk: to draw all of them would take several times as long.
        drawn = rng.standard_normal((min(_CHUNK_ROWS, self.rows), self.dimension), dtype=np.float32)
        with (self._home / _TABLE_FILE).open("wb") as file:
            for start in range(0, self.rows, _CHUNK_ROWS):
                some = drawn[: self.rows - start]
                (some * rng.uniform(0.05, 0.2, size=(len(some), 1)).astype(np.float32)).tofile(file)

    def material(self, asks: int, candidates: int, k: int, seed: int) -> Material:
        """Requests for random rows all over the table, with their right answers."""
        rng = np.random.default_rng(seed)
        table = np.memmap(
            self._home / _TABLE_FILE, dtype=np.float32, mode="r", shape=(self.rows, self.dimension)
        )
        drawn = [
            Ask(str(rng.integers(10**6)), tuple(_names(rng, candidates)), min(k, candidates))
            for _ in range(asks)
        ]
        return Material(drawn, [self._truth(table, one) for one in drawn])

    def _truth(self, table: np.ndarray, ask: Ask) -> Truth:
        taste = self._tastes[_bucket(ask.user_id, _USERS - 1)]
        rows = [_bucket(name, self.rows - 1) for name in ask.candidates]
        scores = 1 / (1 + np.exp(-(table[rows] @ taste)))
        by_name = dict(zip(ask.candidates, scores.tolist(), strict=True))
        return Truth(by_name, float(np.sort(scores)[-ask.k]), ask.k)

    def _graph(self) -> onnx.ModelProto:
        table = TensorProto(name="slots", data_type=TensorProto.FLOAT, dims=(self.rows, self.dimension))
        table.data_location = TensorProto.EXTERNAL
        for key, value in (("location", _TABLE_FILE), ("offset", 0), ("length", self.table_bytes)):
            table.external_data.add(key=key, value=str(value))
        axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")
        nodes = [
            helper.make_node("Gather", ["tastes", "taste"], ["wanted"]),
            helper.make_node("Gather", ["wanted", "row_request"], ["spread"]),
            helper.make_node("Gather", ["slots", "slot"], ["found"]),
            helper.make_node("Mul", ["spread", "found"], ["products"]),
            helper.make_node("ReduceSum", ["products", "axes"], ["logits"], keepdims=0),
            helper.make_node("Sigmoid", ["logits"], ["score"]),
        ]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, [dimension])
            for name, dimension in (
                ("taste", "num_requests"),
                ("slot", "num_candidates"),
                ("row_request", "num_candidates"),
            )
        ]
        score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["num_candidates"])
        weights = [numpy_helper.from_array(self._tastes, "tastes"), axes, table]
        graph = helper.make_graph(nodes, NAME, inputs, [score], weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def body_of(ask: Ask, variant: str) -> dict[str, object]:
    """The request: the catalog has nobody and nothing, so features come with it."""
    slots = [{"item_id": name, "slot": name} for name in ask.candidates]
    return {"user": {"taste": ask.user_id}, "candidates": slots, "k": ask.k, "variant": variant}


def _names(rng: np.random.Generator, count: int) -> list[str]:
    return [f"{number:x}" for number in rng.choice(1 << 40, size=2 * count)[:count].tolist()]


def _bucket(name: str, buckets: int) -> int:
    """As the service's encoder finds it: index 0 is kept for what is absent."""
    return zlib.crc32(name.encode()) % buckets + 1
