"""The rows and lists that every graph is asked, and what its answers are worth; read from `slimrank data --export`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

_ROWS_PER_RUN = 1000
_LISTS_PER_RUN = 20
_BATCH_PROBE_ROWS = 256
_K = 10
Feed = Mapping[str, np.ndarray]


def open_graph(folder: Path) -> ort.InferenceSession:
    """A session with one thread over `folder`/model.onnx, on the project's own onnxruntime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])


def score(session: ort.InferenceSession, inputs: Feed, row_request: np.ndarray) -> np.ndarray:
    """Scores float32 [candidates]; inputs that a tool has cut off the graph are left out."""
    wanted = {one.name for one in session.get_inputs()}
    feed = {name: values for name, values in inputs.items() if name in wanted}
    if "row_request" in wanted:
        feed["row_request"] = row_request
    scores: np.ndarray = session.run(["score"], feed)[0]
    return scores.reshape(-1)


@dataclass(frozen=True)
class Answers:
    """What one graph says."""

    rows: np.ndarray
    """float32 [test rows]."""
    lists: np.ndarray
    """float32 [lists, candidates]."""
    batch_difference: float
    """Largest change of a score when its row is run alone instead of among others."""


@dataclass(frozen=True)
class Questions:
    """Everything that is asked."""

    rows: Feed
    """Graph inputs of the test rows, each a request of its own."""
    labels: np.ndarray
    requests: Feed
    """Request features of each list."""
    items: Feed
    """Item features, [lists, candidates, ...]; candidate 0 is the held-out positive."""

    @classmethod
    def read(cls, folder: Path) -> "Questions":
        """Read what `slimrank data --export` wrote."""
        test, lists = load(folder / "test.npz"), load(folder / "lists.npz")
        return cls(part(test, "input"), test["label"], part(lists, "request"), part(lists, "item"))

    def ask(self, session: ort.InferenceSession) -> Answers:
        """Run one graph over everything."""
        count = len(self.labels)
        chunks = np.split(np.arange(count), np.arange(_ROWS_PER_RUN, count, _ROWS_PER_RUN))
        rows = [self._score_rows(session, chunk) for chunk in chunks]
        probed = np.arange(min(_BATCH_PROBE_ROWS, count))
        alone = np.concatenate([self._score_rows(session, probed[n : n + 1]) for n in probed])
        moved = np.abs(self._score_rows(session, probed) - alone).max()
        return Answers(np.concatenate(rows), self._score_lists(session), float(moved))

    def request(self, candidates: int) -> Feed:
        """One request of a list's user, with items drawn from all lists."""
        rng = np.random.default_rng(candidates)
        drawn = {name: values.reshape(-1, *values.shape[2:]) for name, values in self.items.items()}
        picked = rng.integers(len(next(iter(drawn.values()))), size=candidates)
        feed = {name: values[:1] for name, values in self.requests.items()}
        return feed | {name: values[picked] for name, values in drawn.items()}

    def _score_rows(self, session: ort.InferenceSession, chunk: np.ndarray) -> np.ndarray:
        inputs = {name: values[chunk] for name, values in self.rows.items()}
        return score(session, inputs, np.arange(len(chunk), dtype=np.int64))

    def _score_lists(self, session: ort.InferenceSession) -> np.ndarray:
        count, length = next(iter(self.items.values())).shape[:2]
        scores = np.empty((count, length), dtype=np.float32)
        for start in range(0, count, _LISTS_PER_RUN):
            some = slice(start, start + _LISTS_PER_RUN)
            inputs = {name: values[some] for name, values in self.requests.items()}
            items = {name: values[some] for name, values in self.items.items()}
            inputs |= {name: values.reshape(-1, *values.shape[2:]) for name, values in items.items()}
            lists = len(scores[some])
            row_request = np.repeat(np.arange(lists, dtype=np.int64), length)
            scores[some] = score(session, inputs, row_request).reshape(-1, length)
        return scores


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, ties counting one half."""
    _, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[group]
    positive = labels >= 0.5
    above = rank[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(above / (positive.sum() * (~positive).sum()))


def ndcg(lists: np.ndarray) -> float:
    """Mean NDCG@10 of the positive in column 0; ties take the mean of their ranks."""
    first, others = lists[:, :1], lists[:, 1:]
    ranks = 1 + (others > first).sum(axis=1) + 0.5 * (others == first).sum(axis=1)
    return float(np.where(ranks <= _K, 1 / np.log2(ranks + 1), 0).mean())


def load(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def part(arrays: Feed, prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    begin = f"{prefix}."
    return {name.removeprefix(begin): one for name, one in arrays.items() if name.startswith(begin)}
