"""The bench: a graph on disk against the baseline, in one report."""

import time
from pathlib import Path

from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE
from app.compression.evaluate import Evaluation
from app.compression.profile import profile
from app.compression.scorer import Scorer
from app.compression.workshop import Progress
from app.encoding import Encoder
from app.machine import this_machine
from app.model_card import Profile
from app.report import Report, Size
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

    def measure(self, folder: Path, started: float, progress: Progress) -> Report:
        """Everything the report says of the graph in `folder`; `started` is a `time.monotonic()`."""
        scorer = Scorer(folder)
        quality = agreement = None
        slices = []
        if self.evaluation is not None:
            progress(0.0, "evaluating")
            scores = self.evaluation.ask(scorer)
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
    """Bytes of the graph and its external data."""
    paths = (folder / GRAPH_FILE, folder / GRAPH_DATA_FILE)
    return sum(path.stat().st_size for path in paths if path.exists())
