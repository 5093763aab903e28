"""Ranking as a capable engineer would write it around any serving framework: look up, run, sort.

It knows nothing but the files of loadtest/prepare.py, and needs numpy and onnxruntime only: each peer imports it inside
its own environment.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


class Ranker:
    """One graph and its catalog; one thread, as every side of the comparison has."""

    def __init__(self, folder: str) -> None:
        home = Path(folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            str(home / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.items = dict(np.load(home / "item.npz"))
        self.users = dict(np.load(home / "user.npz"))
        self.item_ids = json.loads((home / "item_ids.json").read_text())
        self.item_rows = {raw: row for row, raw in enumerate(self.item_ids)}
        self.user_rows = {
            raw: row for row, raw in enumerate(json.loads((home / "user_ids.json").read_text()))
        }

    def score(self, user_id: str, candidates: list[str]) -> np.ndarray:
        """Scores of the candidates, float32 [candidates]."""
        user = self.user_rows[user_id]
        rows = np.array([self.item_rows[one] for one in candidates], dtype=np.int64)
        feed = {name: values[user : user + 1] for name, values in self.users.items()}
        feed |= {name: values[rows] for name, values in self.items.items()}
        feed["row_request"] = np.zeros(len(rows), dtype=np.int64)
        scores: np.ndarray = self.session.run(["score"], feed)[0]
        return scores

    def rank(self, request: dict[str, Any]) -> dict[str, Any]:
        """The k best candidates of a request {user_id, candidates, k}."""
        return _best(request, self.score(request["user_id"], request["candidates"]))

    def rank_many(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers to several requests, in one run of the graph: for frameworks that batch."""
        counts = [len(one["candidates"]) for one in requests]
        users = np.array([self.user_rows[one["user_id"]] for one in requests], dtype=np.int64)
        rows = [self.item_rows[raw] for one in requests for raw in one["candidates"]]
        feed = {name: values[users] for name, values in self.users.items()}
        feed |= {name: values[np.array(rows, dtype=np.int64)] for name, values in self.items.items()}
        feed["row_request"] = np.repeat(np.arange(len(requests), dtype=np.int64), counts)
        scores = np.split(self.session.run(["score"], feed)[0], np.cumsum(counts)[:-1])
        return [_best(request, found) for request, found in zip(requests, scores, strict=True)]


def _best(request: dict[str, Any], scores: np.ndarray) -> dict[str, Any]:
    best = np.argsort(-scores, kind="stable")[: request["k"]]
    candidates = request["candidates"]
    return {"items": [{"item_id": candidates[one], "score": float(scores[one])} for one in best]}
