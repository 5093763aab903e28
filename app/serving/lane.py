"""One graph as the batcher sees it: how it is run, what its runs cost, and how many rows it pays to run together.

Nothing here is assumed of the machine: the sizes are timed when a version is loaded.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.encoding import Array
from app.serving.costs import RunCost
from app.serving.query import Features
from app.serving.session import Scoring

TURN_SECONDS = 0.005
"""How long one request may have a worker to itself while others wait."""
SIZES = (1, 8, 64, 128, 256, 512, 1024)
"""Row counts that are timed."""
_ENOUGH_SECONDS = 0.02
_STALE_SECONDS = 1.0
_REMEMBERED_RUNS = 4
_NEAR_BEST = 1.05
_ASIDE_SECONDS = 0.00008
"""What a turn of the event loop takes for a run whatever its rows, and what requests save that are read, scored and
answered one after another, while the code for it is in the processor's caches."""

Part = tuple[Features, int, int]
"""Rows from the first number up to the second, of one request."""


class Lane:
    """A session with what is known of its speed. `run_rows` is the number of rows that are best run together."""

    def __init__(
        self, scoring: Scoring, request_features: frozenset[str], cost: RunCost, run_rows: int
    ) -> None:
        self.scoring = scoring
        self._request_features = request_features
        self.cost = cost
        self.run_rows = run_rows
        self.last_run = float("-inf")
        """When its last run ended, on the clock of time.perf_counter()."""
        self.recent_rows: deque[int] = deque(maxlen=_REMEMBERED_RUNS)
        """Sizes of its last runs."""

    def turn_rows(self) -> int:
        """The most rows of one request that are run in one turn."""
        return max(self.cost.rows_within(TURN_SECONDS), self.run_rows)

    def share_seconds(self, rows: int) -> float:
        """What a request of so many rows takes of runs that are joined as far as that makes rows cheaper."""
        if rows >= self.run_rows:
            return self.cost.seconds(rows)
        return self.cost.seconds(self.run_rows) * rows / self.run_rows

    def run(self, parts: Sequence[Part]) -> list[Array]:
        """Scores, float32 [rows], of each part. Raises what the session raises."""
        self.recent_rows.append(min(self.run_rows, sum(stop - start for _, start, stop in parts)))
        if len(parts) > 1:
            return self._together(parts)
        ((features, start, stop),) = parts
        pieces = [
            self.score(features, one, min(one + self.run_rows, stop))
            for one in range(start, stop, self.run_rows)
        ]
        return [pieces[0] if len(pieces) == 1 else np.concatenate(pieces)]

    def score(self, features: Features, start: int, stop: int) -> Array:
        """Scores of these rows in one run, whose size is not remembered."""
        row_request = np.zeros(stop - start, dtype=np.int64)
        if features.catalog_rows is not None:
            return self.scoring.run_catalog(features.inputs, features.catalog_rows[start:stop], row_request)
        return self.scoring.run(self._rows(features, start, stop), row_request)

    def _together(self, parts: Sequence[Part]) -> list[Array]:
        """Several requests in one run; the batcher sees to it that they fit."""
        counts = [stop - start for _, start, stop in parts]
        row_request = np.repeat(np.arange(len(parts), dtype=np.int64), counts)
        catalog_rows = [
            features.catalog_rows[start:stop]
            for features, start, stop in parts
            if features.catalog_rows is not None
        ]
        if len(catalog_rows) == len(parts):
            inputs = _joined([features.inputs for features, _, _ in parts])
            scores = self.scoring.run_catalog(inputs, np.concatenate(catalog_rows), row_request)
        else:
            scores = self.scoring.run(_joined([self._rows(*part) for part in parts]), row_request)
        return np.split(scores, np.cumsum(counts)[:-1])

    def _rows(self, features: Features, start: int, stop: int) -> Mapping[str, Array]:
        """All request features, and the item features of these rows."""
        if features.catalog_rows is not None:
            return {**features.inputs, **self.scoring.items_of(features.catalog_rows[start:stop])}
        if stop - start == features.rows:
            return features.inputs
        return {
            name: values if name in self._request_features else values[start:stop]
            for name, values in features.inputs.items()
        }


def keep_pace(lanes: Sequence[Lane]) -> None:
    """Let the costs of those that have not run for a while follow the one that ran last.

    Under load a run takes up to twice as long as alone, since its data has left the processor's caches. A graph that
    does not run would look cheaper than it is, and be chosen for that.
    """
    latest = max(lanes, key=_last_run)
    for lane in lanes:
        if latest.last_run - lane.last_run > _STALE_SECONDS:
            lane.cost.keep_pace(latest.cost.scale)


def _last_run(lane: Lane) -> float:
    return lane.last_run


def _joined(inputs: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """One after another; a feature that the graph does not read may be missing in some."""
    return {
        name: np.concatenate([one[name] for one in inputs])
        for name in inputs[0]
        if all(name in one for one in inputs)
    }


def time_runs(
    run: Callable[[int], object], sizes: Sequence[int] = SIZES, repeats: int = 5
) -> list[tuple[int, float]]:
    """The rows and the least seconds of a run at each size, taken in turns; slow sizes are timed less often."""
    least: dict[int, float] = {}
    for _ in range(repeats):
        for rows in sizes:
            if least.get(rows, 0.0) > _ENOUGH_SECONDS:
                continue
            started = time.perf_counter()
            run(rows)
            seconds = time.perf_counter() - started
            least[rows] = min(seconds, least.get(rows, seconds))
    return sorted(least.items())


def best_run_rows(timings: Sequence[tuple[int, float]], most: int) -> int:
    """The fewest rows, at most `most`, whose run costs about the least for each row, with what a run takes besides."""
    allowed = [(rows, seconds + _ASIDE_SECONDS) for rows, seconds in timings if rows <= most] or [timings[0]]
    least = min(seconds / rows for rows, seconds in allowed)
    chosen = next(rows for rows, seconds in allowed if seconds / rows <= _NEAR_BEST * least)
    return min(most, chosen)
