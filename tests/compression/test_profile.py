"""How speed is measured."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from app.compression import profile as profile_module
from app.compression.profile import Load, example_request, profile
from app.compression.scorer import Scorer
from app.encoding import Array, Encoder
from app.model_card import Profile
from app.schema import is_id, trailing_shape

from tests.clocks import Clock, stand_still
from tests.compression.parts import ignore, scorer_of
from tests.samples import an_encoder


class Counted(Scorer):
    """Counts its runs and notes their order in a list that two of them may share."""

    def note(self, name: str, log: list[str]) -> "Counted":
        self.name, self.log = name, log
        return self

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        self.log.append(self.name)
        return super().run(inputs, row_request)


@pytest.mark.parametrize("candidates", [1, 7, 500])
def test_an_example_request_fits_the_graph_contract(candidates: int) -> None:
    encoder = an_encoder()
    load = example_request(encoder, candidates, seed=0)
    np.testing.assert_array_equal(load.row_request, np.zeros(candidates, dtype=np.int64))
    for feature in encoder.schema.features:
        values = load.inputs[feature.name]
        assert values.shape == (candidates if feature.side == "item" else 1, *trailing_shape(feature))
        assert values.dtype == (np.int64 if is_id(feature) else np.float32)
        if is_id(feature):
            assert values.min() >= 0
            assert values.max() < encoder.cardinality(feature.name)


def test_an_example_request_spreads_over_the_tables_and_is_the_same_for_everyone() -> None:
    encoder = an_encoder()
    one, same, other = (example_request(encoder, 500, seed) for seed in (1, 1, 2))
    assert len(np.unique(one.inputs["item_id"])) == encoder.cardinality("item_id")

    def equal(a: Load, b: Load) -> bool:
        return all(np.array_equal(a.inputs[name], b.inputs[name]) for name in a.inputs)

    assert equal(one, same)
    assert not equal(one, other)


def test_both_sides_are_timed_in_turns(
    graph: onnx.ModelProto, subject_encoder: Encoder, tmp_path: Path
) -> None:
    scorer_of(graph, tmp_path)
    log: list[str] = []
    ours, theirs = (Counted(tmp_path).note(name, log) for name in ("v", "b"))
    told: list[tuple[float, str]] = []
    spec = Profile(candidates=(3, 40), samples=31)
    found = profile(ours, theirs, subject_encoder, spec, lambda *one: told.append(one))
    assert [(one.candidates, one.samples) for one in found] == [(3, 33), (40, 33)]
    assert all(0 < one.p50_ms <= one.p99_ms and one.speedup > 0 for one in found)
    # A warm-up of each, then turns: the first run after each change of sides is not counted.
    assert "".join(log) == 2 * ("vvvvvbbbbb" + 11 * "bbvvvv")
    assert told == [(0.0, "timing 3 candidates"), (0.5, "timing 40 candidates")]


class Lasting(Scorer):
    """Its runs take that long by that clock."""

    def by(self, clock: Clock, seconds: float) -> "Lasting":
        self.clock, self.seconds = clock, seconds
        return self

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        self.clock.now += self.seconds
        return super().run(inputs, row_request)


def test_latency_is_in_milliseconds_and_a_slower_variant_has_a_speedup_below_1(
    graph: onnx.ModelProto, subject_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer_of(graph, tmp_path)
    clock = stand_still(monkeypatch, profile_module)
    ours, theirs = (Lasting(tmp_path).by(clock, seconds) for seconds in (0.02, 0.005))
    (found,) = profile(ours, theirs, subject_encoder, Profile(candidates=(1,), samples=30), ignore)
    assert (found.p50_ms, found.p99_ms, found.speedup) == pytest.approx((20, 20, 0.25))


@pytest.fixture
def subject_encoder(request: pytest.FixtureRequest) -> Encoder:
    encoder: Encoder = request.getfixturevalue("subject").encoder
    return encoder
