"""What is held against the bars: figures reckoned from samples whose moments are known."""

import threading
from typing import Any

import numpy as np
import pytest
from loadtest.alongside import Side, alongside, share_within
from loadtest.bars import Bar
from loadtest.bars_report import bars_table, in_words
from loadtest.demo import demo_ratios, judged
from loadtest.ideal_queue import ideal_latency_ms, service_seconds
from loadtest.measure import Material
from loadtest.overload import forms_of, reckon
from loadtest.overload import judged as judged_overload
from loadtest.overload_bars import FP32, LADDER, NO_DEADLINE, against, judged_curve
from loadtest.plots import curves
from loadtest.resident import growth
from loadtest.samples import Samples
from loadtest.service import Known
from loadtest.swaps import version_changes
from loadtest.turns import BESIDE, QUIET, Turns

from tests.loadtest.test_checks import TRUTH, a_turn

NDCG = {"baseline": 0.5, "student": 0.25}


def samples_of(milliseconds: list[float], statuses: list[int], variants: list[str]) -> Samples:
    """Requests meant to be sent at 0, each with its answer."""
    samples = Samples(len(milliseconds) + 5)  # a plan is longer than what was sent of it
    samples.begin(0.0)
    for number, (took, status, variant) in enumerate(zip(milliseconds, statuses, variants, strict=True)):
        samples.intend(number, 0.0)
        samples.send(number, 0.001)
        samples.answer(number, took / 1e3, status, b"")
        if status == 200:
            samples.origins[number] = (variant, "1")
    samples.end(1.0)
    return samples


def test_a_bar_is_passed_or_not() -> None:
    most, least = Bar("latency", 25.0, "ms"), Bar("share", 0.9, "%", at_least=True)
    assert [most.judged(value)["met"] for value in (25.0, 25.1, None)] == [True, False, False]
    assert [least.judged(value)["met"] for value in (0.9, 0.89, None)] == [True, False, False]
    assert in_words(most.judged(26.0)) == "latency: 26.00 ms, asked: at most 25.00 ms: falls short"
    assert in_words(least.judged(0.95)) == "share: 95.0%, asked: at least 90.0%: pass"
    assert "not measured" in in_words(most.judged(None))


def test_the_report_has_every_bar() -> None:
    machine = {"commit": "c", "at": "2026-01-01"}
    result = {"model": "m", "machine": machine, "bars": [Bar("ratio", 4.0, "x").judged(3.0)]}
    assert "| ratio | at most 4.00x | 3.00x | **pass** | m | c, 2026-01-01 |" in bars_table([result])


def test_only_right_answers_within_the_deadline_are_in_time() -> None:
    variants = ["baseline", "student", "student", "", "", ""]
    samples = samples_of([10, 20, 30, 4, 6, 24], [200, 200, 200, 429, 504, 504], variants)
    found = reckon(samples, 25.0, NDCG)
    assert (found["offered"], found["in_time"], found["late"]) == (6, 2, 1)
    assert found["in_time_by_variant"] == {"baseline": 1, "student": 1}
    assert found["effective_ndcg_at_10"] == pytest.approx((0.5 + 0.25) / 6)
    assert found["rejections"]["429"] == {"count": 1, "latency_ms": {"max": pytest.approx(4.0)}}
    assert found["rejections"]["504"] == {"count": 2, "latency_ms": {"max": pytest.approx(24.0)}}
    assert found["rejections"]["503"]["count"] == 0
    assert found["sent_late_ms"]["max"] == pytest.approx(1.0)


def test_a_wrong_answer_is_not_in_time_and_no_rejection() -> None:
    samples = samples_of([10, 10], [200, 200], ["baseline", "baseline"])
    samples.failed[1] = "wrong answer"
    found = against({**reckon(samples, 25.0, NDCG), "in_time_per_second": 1.0}, 2.0)
    assert found["in_time"] == 1
    assert found["in_time_of_capacity"] == 0.5
    in_time, p99, rejection, failures = judged_overload({**found, "form": LADDER, "capacity_of": FP32})
    assert (in_time["met"], p99["value"], rejection["value"], failures["value"]) == (False, None, 0.0, 1)


def test_what_is_told_at_its_deadline_is_no_rejection_at_once() -> None:
    samples = samples_of([10, 4, 6, 26], [200, 429, 503, 504], ["baseline", "", "", ""])
    found = against({**reckon(samples, 25.0, NDCG), "in_time_per_second": 1.0}, 1.0)
    bars = judged_overload({**found, "form": FP32, "capacity_of": FP32})
    assert [bar["value"] for bar in bars] == [1.0, None, pytest.approx(6.0), 0]
    assert all(bar["what"].startswith(f"{FP32}, overloaded: ") for bar in bars)


def test_a_queue_without_a_flaw_waits_for_what_came_before() -> None:
    at, taken = np.arange(1000.0), np.where(np.arange(1000) % 10 == 1, 2.0, 0.5)
    # Of ten, one takes 2 s; the next waits 1 s, the one after it 0.5 s, and the others find nobody before them.
    found = ideal_latency_ms(at, taken)
    assert found["p50"] == pytest.approx(500.0)
    assert found["p99"] == pytest.approx(2000.0)


def test_service_times_fill_the_capacity_of_the_mix() -> None:
    mix = ((100, 1.0), (300, 1.0))
    capacities = {((100, 1.0),): 1000.0, ((1000, 1.0),): 500.0, mix: 800.0}
    both = service_seconds(np.array([100, 300]), mix, capacities)
    assert both.mean() == pytest.approx(1 / 800)
    assert both[1] / both[0] == pytest.approx((8 / 9 + 3 / 9) / (8 / 9 + 1 / 9))
    alone = service_seconds(np.array([100, 300]), mix, {mix: 800.0})
    assert alone[1] / alone[0] == pytest.approx(3.0)


def test_answers_of_a_variant_without_measured_quality_have_no_effective_ndcg() -> None:
    found = reckon(samples_of([10], [200], ["student"]), 25.0, {"student": None})
    assert found["effective_ndcg_at_10"] is None


ONE = "a student only"


def points(load: float, *figures: tuple[float, float | None]) -> list[dict[str, Any]]:
    """(share in time, effective NDCG) of fp32 only, one variant only and the ladder."""
    return [
        {"form": form, "load": load, "in_time_share": share, "effective_ndcg_at_10": ndcg}
        for form, (share, ndcg) in zip((FP32, ONE, LADDER), figures, strict=True)
    ]


def test_every_variant_that_may_serve_is_a_form_the_best_first() -> None:
    known = {
        "small": Known(active=True, may_serve=True, ndcg_at_10=0.3),
        "baseline": Known(active=True, may_serve=True, ndcg_at_10=0.5),
        "middling": Known(active=True, may_serve=True, ndcg_at_10=0.4),
        "rejected": Known(active=True, may_serve=False, ndcg_at_10=0.6),
        "older": Known(active=False, may_serve=True, ndcg_at_10=0.6),
    }
    forms = {
        FP32: "baseline",
        NO_DEADLINE: "baseline",
        "middling only": "middling",
        "small only": "small",
        LADDER: "auto",
    }
    assert list(forms_of(known).items()) == list(forms.items())


def test_the_gain_of_the_ladder_is_the_least_of_the_loads_that_are_too_high_for_fp32() -> None:
    quiet = points(0.2, (0.995, 0.5), (1.0, 0.4), (1.0, 0.45))
    high = points(1.0, (0.5, 0.25), (0.9, 0.36), (0.98, 0.45))
    higher = points(2.0, (0.2, 0.1), (0.5, 0.2), (0.6, 0.22))

    def gains(curve: list[dict[str, Any]]) -> list[float | None]:
        """Over fp32, and over the best of all others."""
        return [one["value"] for one in judged_curve(curve)]

    assert gains([*quiet, *high]) == [pytest.approx(0.45 / 0.25), pytest.approx(1.25)]
    assert gains([*quiet, *high, *higher]) == [pytest.approx(0.45 / 0.25), pytest.approx(1.1)]
    again = points(2.0, (0.2, 0.1), (0.5, 0.26), (0.6, 0.14))
    assert gains([*higher, *again]) == [pytest.approx(0.18 / 0.1), pytest.approx(0.18 / 0.23)], (
        "means of turns"
    )
    assert all(one["met"] for one in judged_curve([*high, *higher]))
    over_fp32, over_all = judged_curve(points(2.0, (0.2, 0.1), (0.5, 0.2), (0.4, 0.19)))
    assert over_fp32["met"]
    assert not over_all["met"]
    unrefusing = {**points(2.0, (0.2, 0.1), (0.5, 0.2), (0.4, 0.19))[0], "form": NO_DEADLINE}
    better = {**unrefusing, "effective_ndcg_at_10": 0.3}
    assert gains([*higher, better])[0] == pytest.approx(0.22 / 0.3)
    assert gains(quiet) == [None, None]
    assert gains(points(2.0, (0.2, 0.1), (0.5, None), (0.4, 0.19))) == [pytest.approx(1.9), None]


def test_an_answer_is_held_against_the_variant_that_it_names() -> None:
    other = TRUTH.__class__({"a": 0.1, "b": 0.2}, threshold=0.1, k=2)
    material = Material([], [TRUTH], {"baseline": [TRUTH], "student": [other]})
    assert material.truth(0, ("student", "1")) is other
    assert material.truth(0, None) is TRUTH
    with pytest.raises(KeyError):
        material.truth(0, ("nobody", "1"))
    assert Material([], [TRUTH]).truth(0, ("student", "1")) is TRUTH


def test_percentiles_of_a_side_pool_its_turns() -> None:
    turns = Turns()
    for side, slowest in ((QUIET, 10.0), (BESIDE, 30.0), (QUIET, 10.0), (BESIDE, 30.0)):
        took = [1.0] * 980 + [slowest] * 20
        turns.take(side, "open", samples_of(took, [200] * 1000, [""] * 1000))
    assert turns.p99_ratio("open") == pytest.approx(3.0)
    assert turns.failures() == 0
    assert turns.as_json()["latency_ms"]["open"][BESIDE]["p99"] == pytest.approx(30.0)


def test_too_few_samples_have_no_ratio() -> None:
    turns = Turns()
    turns.take(QUIET, "open", samples_of([1.0], [200], [""]))
    turns.take(BESIDE, "open", samples_of([1.0], [503], [""]))
    assert turns.p99_ratio("open") is None
    assert turns.failures() == 1


def test_changes_of_the_version_are_counted_in_the_order_of_the_answers() -> None:
    samples = samples_of([4, 1, 3, 2], [200] * 4, [""] * 4)
    samples.origins = {0: ("v", "2"), 1: ("v", "1"), 2: ("v", "2"), 3: ("v", "1")}
    assert version_changes(samples) == 1


def test_growth_begins_when_memory_has_settled() -> None:
    seen = [(float(moment), 100 if moment < 10 else 200 + (moment >= 55) * 2) for moment in range(60)]
    assert growth(seen, 60.0) == pytest.approx(0.01)
    assert growth(seen[:12], 60.0) is None


def test_work_that_fails_beside_a_load_is_in_its_notes() -> None:
    def fails(side: Side) -> None:
        side.begun.set()
        raise ValueError("the service said no")

    with alongside(fails) as notes:
        pass
    assert notes == {"error": "ValueError: the service said no"}


def test_work_that_fails_before_it_has_begun_is_not_waited_for() -> None:
    def fails(side: Side) -> None:
        raise OSError("nobody listens")

    with alongside(fails) as notes:
        assert "error" not in notes
    assert notes["error"] == "OSError: nobody listens"


def test_work_beside_a_load_ends_with_it() -> None:
    threads = set()

    def works(side: Side) -> None:
        side.begun.set()
        threads.add(threading.current_thread())
        side.stop.wait()
        side.notes["ended"] = True

    with alongside(works) as notes:
        assert notes == {}
    assert notes == {"ended": True}
    assert not any(one.is_alive() for one in threads)


def test_the_share_of_time_within_spans() -> None:
    assert share_within([(0.0, 2.0), (3.0, 9.0)], 1.0, 5.0) == pytest.approx(0.75)
    assert share_within([], 1.0, 5.0) == 0.0


def a_demo() -> dict[str, Any]:
    """Two rounds; the bars ask for 8 times the best peer, and for 45% of the empty route."""
    rates = {"fastapi": (100.0, 110.0), "kserve": (90.0, 120.0), "slimrank": (900.0, 990.0)}
    rates["empty FastAPI route"] = (1000.0, 3000.0)
    turns = [
        a_turn(name, number, rate, "closed, 100 candidates")
        for name, some in rates.items()
        for number, rate in enumerate(some)
    ]
    return {"bench": {"counts": [100]}, "turns": turns}


def test_the_demo_is_compared_with_the_best_peer_round_by_round() -> None:
    found = demo_ratios(a_demo())["100"]
    assert found["best_peer"] in {"fastapi", "kserve"}
    assert found["of_best_peer"] == pytest.approx(
        np.mean([10.0, 8.25]) if found["best_peer"] == "kserve" else 9.0
    )
    assert found["of_empty_route"] == pytest.approx((0.9 + 0.33) / 2)
    assert [bar["met"] for bar in judged(a_demo())] == [True, True]


def test_curves_have_a_line_for_each_series_and_survive_having_none() -> None:
    drawn = curves(
        "in time", "load", {"ladder": [(0.2, 1.0), (4.0, 0.5)], "fp32 only": [(0.2, 1.0), (4.0, 0.1)]}
    )
    assert drawn.count("<polyline") == 2
    assert "ladder" in drawn
    assert "http" not in drawn
    assert "<svg" in curves("nothing", "load", {"ladder": []})
