"""What is asked: users and items drawn as traffic draws them, a few hot and many rare; and what a right answer is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from loadtest.peers.ranker import Ranker

DISTINCT = 64
ZIPF = 1.05
TOLERANCE = 1e-3
"""Scores of the same graph may differ by the rows they are batched with; a wrong item differs by far more."""


@dataclass(frozen=True)
class Ask:
    """One request in the terms of the benchmark."""

    user_id: str
    candidates: tuple[str, ...]
    k: int


@dataclass(frozen=True)
class Truth:
    """The right answer: every candidate's score, and the least score that the first k may have."""

    scores: dict[str, float]
    threshold: float
    k: int

    def accepts(self, items: Sequence[tuple[str, float]]) -> bool:
        """Whether these are k different candidates, best first, each with its score, and none better was left out."""
        if len(items) != self.k or len({item for item, _ in items}) != self.k:
            return False
        scores = [score for _, score in items]
        ordered = all(a >= b - TOLERANCE for a, b in pairwise(scores))
        right = all(abs(self.scores.get(item, -1.0) - score) <= TOLERANCE for item, score in items)
        return ordered and right and min(scores) >= self.threshold - TOLERANCE


def draw_asks(ranker: Ranker, counts: Sequence[int], k: int, seed: int) -> list[Ask]:
    """`DISTINCT` requests for each candidate count, users and items Zipf distributed."""
    rng = np.random.default_rng(seed)
    users = rng.permutation(list(ranker.user_rows))
    items = rng.permutation(ranker.item_ids)
    asks = []
    for count in counts:
        for _ in range(DISTINCT):
            user = users[_zipf(rng, len(users), 1)[0]]
            chosen = _distinct(rng, len(items), count)
            asks.append(Ask(str(user), tuple(items[chosen].tolist()), min(k, len(chosen))))
    return asks


def truth_of(ranker: Ranker, ask: Ask) -> Truth:
    """The answer of the graph itself, without a server."""
    scores = ranker.score(ask.user_id, list(ask.candidates))
    threshold = float(np.sort(scores)[-ask.k])
    return Truth(dict(zip(ask.candidates, scores.tolist(), strict=True)), threshold, ask.k)


def body_of(ask: Ask, variant: str) -> dict[str, Any]:  # noqa: ARG001  (a peer holds one graph only)
    """The request as most peers take it."""
    return {"user_id": ask.user_id, "candidates": list(ask.candidates), "k": ask.k}


def http_request(path: str, body: Any, host: str) -> bytes:
    """A whole HTTP request as bytes."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


def _zipf(rng: np.random.Generator, ids: int, draws: int) -> np.ndarray:
    weights = np.arange(1, ids + 1, dtype=np.float64) ** -ZIPF
    return rng.choice(ids, size=draws, p=weights / weights.sum())


def _distinct(rng: np.random.Generator, ids: int, count: int) -> np.ndarray:
    """Different ids, drawn one after another with Zipf weights; all of them, shuffled, when there are not enough."""
    weights = np.arange(1, ids + 1, dtype=np.float64) ** -ZIPF
    return rng.choice(ids, size=min(count, ids), replace=False, p=weights / weights.sum())
