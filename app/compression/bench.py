"""The bench: a graph on disk against the baseline, in one report."""

import time
from pathlib import Path

from app.artifact import GRAPH_FILES
from app.compression.evaluate import Evaluation, Scores
from app.compression.profile import profile
from app.compression.scorer import Scorer
from app.compression.workshop import Progress
from app.encoding import Encoder
from app.machine import this_machine
from app.model_card import Profile
from app.report import Report, Size, Slice
from app.training.graph_file import count_parameters
from app.training.rows import Prepared


class Bench:
    """Holds the baseline's session and answers, so that every variant meets the same questions.

    The baseline's files may be moved afterwards: the session has them open.
    """

    def __init__(self, baseline: Path, encoder: Encoder, prepared: Prepared | None, spec: Profile) -> None:
        self.encoder = encoder
        self.spec = spec
        self.baseline = Scorer(baseline)
        self.baseline_bytes = graph_bytes(baseline)
        self.evaluation = Evaluation(prepared, self.baseline) if prepared is not None else None

    def measure_baseline(self, folder: Path, started: float, progress: Progress) -> Report:
        """What `measure` says of the baseline itself, which has answered already: to ask a large graph takes long."""
        scores = self.evaluation.baseline if self.evaluation is not None else None
        return self._report(folder, self.baseline, scores, started, progress)

    def measure(self, folder: Path, started: float, progress: Progress) -> Report:
        """Everything the report says of the graph in `folder`; `started` is a `time.monotonic()`."""
        scorer = Scorer(folder)
        scores = None
        if self.evaluation is not None:
            progress(0.0, "evaluating")
            scores = self.evaluation.ask(scorer)
        return self._report(folder, scorer, scores, started, progress)

    def _report(
        self, folder: Path, scorer: Scorer, scores: Scores | None, started: float, progress: Progress
    ) -> Report:
        quality = agreement = None
        slices: list[Slice] = []
        if self.evaluation is not None and scores is not None:
            quality, agreement = self.evaluation.quality(scores), self.evaluation.agreement(scores)
            slices = self.evaluation.slices(scores)
        latency = profile(scorer, self.baseline, self.encoder, self.spec, progress)
        size = graph_bytes(folder)
        return Report(
            quality=quality,
            agreement=agreement,
            slices=slices,
            size=Size(size, count_parameters(folder), self.baseline_bytes / size),
            latency=latency,
            machine=this_machine(),
            seconds=round(time.monotonic() - started, 3),
        )


def graph_bytes(folder: Path) -> int:
    """Bytes of the graph, its external data and the graphs of its parts."""
    paths = [folder / name for name in GRAPH_FILES]
    return sum(path.stat().st_size for path in paths if path.exists())
