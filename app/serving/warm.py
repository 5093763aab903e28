"""How a version is made ready: its graph is loaded whole or in parts, whichever is faster, and timed at several sizes.

What onnxruntime allocates and picks at a first run must not fall on a request. Where the variant has served already,
the sizes of its last runs are run, and little is timed, for the machine is busy with requests then: one row, and the
number that is best run together, or more where those take hardly longer than the one. What is best was found in peace.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from app.encoding import Array
from app.errors import ArtifactCorrupt
from app.schema import FeatureSchema, is_id, trailing_shape
from app.serving.costs import RunCost
from app.serving.features import FeatureReader
from app.serving.item_side import CutSession, is_cut
from app.serving.lane import SIZES, Lane, best_run_rows, time_runs
from app.serving.session import Scoring, Session
from app.settings import Settings

_COMPARED_ROWS = (1, 128)
_COMPARISONS = 9
_TELLING = 2.0
"""How many times as long as one row a run must take to tell what a row costs: less may be chance."""


def warm_lane(folder: Path, reader: FeatureReader, settings: Settings, before: Lane | None) -> Lane:
    """Load the graph of a verified artifact and run it. Raises ArtifactCorrupt when it does not do what it should."""
    scoring = _scoring(folder, reader, settings, before)
    request_features = frozenset(feature.name for feature in reader.schema.request_features)

    def run(rows: int) -> None:
        _run(scoring, reader, rows)

    if before is not None and before.recent_rows:
        for rows in set(before.recent_rows):
            run(rows)
        return Lane(scoring, request_features, RunCost(_brief_timings(run, before.run_rows)), before.run_rows)
    timings = time_runs(run)
    return Lane(scoring, request_features, RunCost(timings), best_run_rows(timings, settings.max_batch_rows))


def _brief_timings(run: Callable[[int], object], run_rows: int) -> list[tuple[int, float]]:
    """One row, and then sizes from `run_rows` up, until one tells what a row costs or there is no larger one."""
    timings = time_runs(run, (1, max(run_rows, SIZES[1])), repeats=2)
    for rows in SIZES:
        if timings[-1][1] >= _TELLING * timings[0][1]:
            break
        if rows > timings[-1][0]:
            timings += time_runs(run, (rows,), repeats=2)
    return timings


def _scoring(folder: Path, reader: FeatureReader, settings: Settings, before: Lane | None) -> Scoring:
    """The graph, warm, as the version before it was loaded; without one, as it runs faster."""
    cut = None
    if before is None or isinstance(before.scoring, CutSession):
        cut = _cut(folder, reader, settings)
    if cut is not None and before is not None:
        return cut
    whole = Session(folder, reader.schema, settings.inference_threads, reader.catalog.items)
    _run_zeros(whole, reader.schema)
    if cut is None:
        return whole
    return cut if _seconds(cut, reader) < _seconds(whole, reader) else whole


def _cut(folder: Path, reader: FeatureReader, settings: Settings) -> CutSession | None:
    """The graph in parts, if it is there and the values of all items may be kept."""
    items = reader.catalog.items
    if not is_cut(folder) or not reader.catalog.item_ids:
        return None
    cut = CutSession(folder, reader.schema, settings.inference_threads, items)
    if cut.value_bytes() > settings.item_values_bytes:
        return None
    cut.compute()
    _run_zeros(cut, reader.schema)
    return cut


def _seconds(scoring: Scoring, reader: FeatureReader) -> float:
    timings = time_runs(lambda rows: _run(scoring, reader, rows), _COMPARED_ROWS, _COMPARISONS)
    return sum(seconds for _, seconds in timings)


def _run(scoring: Scoring, reader: FeatureReader, rows: int) -> None:
    """A request for so many items of the catalog; without one, for items without features."""
    items = len(reader.catalog.item_ids)
    if not items:
        _run_zeros(scoring, reader.schema, rows)
        return
    chosen = np.arange(rows, dtype=np.int64) % items
    inputs = {
        feature.name: _zeros(reader.schema, feature.name, 1) for feature in reader.schema.request_features
    }
    with _told():
        scores = scoring.run_catalog(inputs, chosen, np.zeros(rows, dtype=np.int64))
    _checked(scores, rows)


def _run_zeros(scoring: Scoring, schema: FeatureSchema, rows: int = 1) -> None:
    inputs = {
        feature.name: _zeros(schema, feature.name, rows if feature.per_candidate else 1)
        for feature in schema.features
    }
    with _told():
        scores = scoring.run(inputs, np.zeros(rows, dtype=np.int64))
    _checked(scores, rows)


@contextmanager
def _told() -> Iterator[None]:
    """What a run raises, as what it says of the artifact: the old version goes on then."""
    try:
        yield
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise ArtifactCorrupt(f"the graph does not run: {str(error).splitlines()[0]}") from error


def _zeros(schema: FeatureSchema, name: str, rows: int) -> Array:
    feature = schema[name]
    dtype = np.int64 if is_id(feature) else np.float32
    return np.zeros((rows, *trailing_shape(feature)), dtype=dtype)


def _checked(scores: Array, rows: int) -> None:
    if scores.shape != (rows,):
        raise ArtifactCorrupt(f"the graph gives scores of the shape {scores.shape} for {rows} candidates")
