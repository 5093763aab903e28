"""One compressed graph against the baseline: bytes, quality, ties, dependence on the batch, and speed in turns."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from loadtest.compression.questions import Answers, Feed, Questions, auc, ndcg, open_graph, score

CANDIDATES = (1, 100, 1000)
_WARM_UP = 5


class Bench:
    """The baseline's session and its answers, which every graph meets."""

    def __init__(self, baseline: Path, questions: Questions, samples: int) -> None:
        self.questions = questions
        self.samples = samples
        self.session = open_graph(baseline)
        self.answers = questions.ask(self.session)
        self.bytes = size_of(baseline)

    def measure(self, folder: Path) -> dict[str, Any]:
        """Everything said of the graph in `folder`; `failure` alone when onnxruntime cannot load or run it."""
        try:
            session = open_graph(folder)
            answers = self.questions.ask(session)
        except Exception as error:  # noqa: BLE001  (onnxruntime raises classes of its own that share no base)
            return {"failure": str(error).splitlines()[0].replace(str(folder), ".")[:300]}
        return self._quality(answers) | {
            "bytes": (size := size_of(folder)),
            "smaller": self.bytes / size,
            "latency": [self._latency(session, count) for count in CANDIDATES],
        }

    def _quality(self, answers: Answers) -> dict[str, float]:
        labels = self.questions.labels
        value = auc(labels, answers.rows)
        return {
            "auc": value,
            "auc_kept": value / auc(labels, self.answers.rows),
            "ndcg_at_10": ndcg(answers.lists),
            "distinct_score_ratio": len(np.unique(answers.rows)) / len(np.unique(self.answers.rows)),
            "batch_difference": answers.batch_difference,
        }

    def _latency(self, session: ort.InferenceSession, candidates: int) -> dict[str, float]:
        """Medians of `session.run` in turns of three and one; the first run after a change of sides is not counted."""
        feed = self.questions.request(candidates)
        for one in (session, self.session):
            for _ in range(_WARM_UP):
                _seconds(one, feed)
        ours, theirs = [], []
        for _ in range(-(-self.samples // 3)):
            _seconds(self.session, feed)
            theirs.append(_seconds(self.session, feed))
            _seconds(session, feed)
            ours += [_seconds(session, feed) for _ in range(3)]
        p50, baseline = float(np.median(ours)), float(np.median(theirs))
        return {"candidates": candidates, "p50_ms": p50 * 1e3, "speedup": baseline / p50}


def size_of(folder: Path) -> int:
    """Bytes of the graph and of every file that it keeps weights in."""
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    weights = [one for one in graph.graph.initializer if uses_external_data(one)]
    names = {"model.onnx", *(ExternalDataInfo(one).location for one in weights)}
    return sum((folder / name).stat().st_size for name in names)


def _seconds(session: ort.InferenceSession, feed: Feed) -> float:
    row_request = np.zeros(len(next(reversed(feed.values()))), dtype=np.int64)
    begun = time.perf_counter()
    score(session, feed, row_request)
    return time.perf_counter() - begun
