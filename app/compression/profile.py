"""How fast a variant is: `session.run` timed in turns with the baseline, so that both see the same machine."""

import time
from dataclasses import dataclass

import numpy as np

from app.compression.scorer import Scorer
from app.compression.workshop import Progress
from app.encoding import Array, Encoder
from app.model_card import Profile
from app.report import Latency
from app.schema import HistoryFeature, is_id, trailing_shape

_WARM_UP = 5


@dataclass(frozen=True)
class Load:
    """One request: graph inputs for a number of candidates."""

    inputs: dict[str, Array]
    row_request: Array


def example_request(encoder: Encoder, candidates: int, seed: int) -> Load:
    """A request with random known ids: where a row lies in a table decides what a look-up costs."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for feature in encoder.schema.features:
        shape = (candidates if feature.per_candidate else 1, *trailing_shape(feature))
        if is_id(feature):
            name = feature.of if isinstance(feature, HistoryFeature) else feature.name
            inputs[feature.name] = rng.integers(encoder.cardinality(name), size=shape, dtype=np.int64)
        else:
            inputs[feature.name] = rng.standard_normal(shape, dtype=np.float32)
    return Load(inputs, np.zeros(candidates, dtype=np.int64))


def profile(
    scorer: Scorer, baseline: Scorer, encoder: Encoder, spec: Profile, progress: Progress
) -> list[Latency]:
    """Latencies at each of the spec's candidate counts, with the p50 ratio to the baseline as `speedup`."""
    found = []
    for position, candidates in enumerate(spec.candidates):
        progress(position / len(spec.candidates), f"timing {candidates:,} candidates")
        load = example_request(encoder, candidates, seed=candidates)
        ours, theirs = _interleaved(scorer, baseline, load, spec.samples)
        p50, p99 = np.percentile(ours, [50, 99]) * 1e3
        speedup = float(np.median(theirs) / np.median(ours))
        found.append(Latency(candidates, len(ours), float(p50), float(p99), speedup))
    return found


def _interleaved(scorer: Scorer, baseline: Scorer, load: Load, samples: int) -> tuple[Array, Array]:
    """Seconds of `samples` runs of the one and a third as many of the other, in turns of three and one.

    The first run after a change of sides finds the other's data in the processor's caches and is not counted.
    """
    for one in (scorer, baseline):
        for _ in range(_WARM_UP):
            one.run(load.inputs, load.row_request)
    turns = -(-samples // 3)
    ours = np.empty((turns, 3))
    theirs = np.empty(turns)
    for turn in range(turns):
        _seconds(baseline, load)
        theirs[turn] = _seconds(baseline, load)
        _seconds(scorer, load)
        for run in range(3):
            ours[turn, run] = _seconds(scorer, load)
    return ours.ravel(), theirs


def _seconds(scorer: Scorer, load: Load) -> float:
    start = time.perf_counter()
    scorer.run(load.inputs, load.row_request)
    return time.perf_counter() - start
