"""How much is asked of a model, as the ladder sees it, on a clock of the test's own."""

import numpy as np
import pytest
from app.serving.load import Load, Taken

from tests.clocks import Clock


def seen(arrivals: np.ndarray, rows: int = 10) -> list[float]:
    """Requests in a second, as they are reckoned just after each arrival."""
    clock = Clock()
    load, found = Load(Taken(clock), clock), []
    for clock.now in arrivals.tolist():
        load.note_asked(rows)
        found.append(load.utilization(lambda _: 0.0, 1.0))
    return found


def poisson(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.random(rng.poisson(rate * seconds))) * seconds


def test_what_comes_is_a_share_of_time_by_its_rows_and_by_its_number() -> None:
    clock = Clock()
    load = Load(Taken(clock), clock)
    assert load.utilization(lambda rows: rows * 1e-6, 1e-4) == 0
    for clock.now in np.arange(0, 3, 0.001).tolist():
        load.note_asked(100 if clock.now < 1 else 300)
    assert load.utilization(lambda rows: rows * 1e-6, 1e-4) == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize("rate", [100.0, 1000.0, 5000.0])
def test_a_steady_load_is_seen_as_it_is(rate: float) -> None:
    found = np.array(seen(poisson(rate, 20)))[int(rate) * 3 :]
    assert np.mean(found) == pytest.approx(rate, rel=0.1)
    assert np.percentile(found, 99) < 1.3 * rate + 40


@pytest.mark.parametrize("rate", [1000.0, 5000.0])
def test_a_load_that_begins_is_seen_within_a_few_hundredths_of_a_second(rate: float) -> None:
    arrivals = poisson(rate, 0.1)
    found = np.array(seen(arrivals))
    assert found[np.searchsorted(arrivals, 0.03)] > 0.12 * rate
    assert found[np.searchsorted(arrivals, 0.09)] > 0.35 * rate


def test_a_burst_of_small_requests_is_not_taken_for_one_of_large_ones() -> None:
    clock = Clock()
    load = Load(Taken(clock), clock)
    for clock.now in np.arange(0, 3, 0.1).tolist():
        load.note_asked(1000)
    for _ in range(50):
        load.note_asked(1)
    large = 10 * 1000e-6
    assert load.utilization(lambda rows: rows * 1e-6, 0.0) < 5 * large


def test_a_few_requests_at_once_are_no_load() -> None:
    assert max(seen(np.full(4, 1.0))) < 40


def test_what_names_its_variant_takes_the_same_whatever_the_rung() -> None:
    clock = Clock()
    load = Load(Taken(clock), clock)
    for clock.now in np.arange(0, 3, 0.01).tolist():
        load.note_fixed(0.004)
    assert load.taken_share() == pytest.approx(0.4, rel=0.05)
    assert load.utilization(lambda _: 1.0, 1.0) == 0


def test_what_other_models_take_is_taken_and_what_the_own_ladder_decides_is_not() -> None:
    clock = Clock()
    worker = Taken(clock)
    one, other = Load(worker, clock), Load(worker, clock)
    for clock.now in np.arange(0, 3, 0.01).tolist():
        one.note(10, 0.006)
        other.note(10, 0.002)
        other.note_fixed(0.001)
        other.note_asked(10)  # it was refused
    assert one.taken_share() == pytest.approx(0.3, rel=0.05)
    assert other.taken_share() == pytest.approx(0.7, rel=0.05)
    clock.now += 5
    assert one.taken_share() < 0.001


def test_what_may_be_the_canarys_counts_by_half() -> None:
    clock = Clock()
    load = Load(Taken(clock), clock)
    for clock.now in np.arange(0, 3, 0.001).tolist():
        load.note_asked(100, 0.5)
    assert load.utilization(lambda rows: rows * 1e-6, 1e-4) == pytest.approx(0.1, rel=0.05)


def test_a_load_that_has_ended_is_forgotten() -> None:
    clock = Clock()
    load = Load(Taken(clock), clock)
    for _ in range(1000):
        load.note_asked(10)
    clock.now = 5.0
    assert load.utilization(lambda _: 0.0, 1.0) < 0.5
