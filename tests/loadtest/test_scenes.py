"""The scenes of our own service on real parts: a real service over a real store, each scene a second or two."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loadtest.bars import SOAK_FAILURES, SOAK_MEMORY
from loadtest.compare import Bench
from loadtest.demo import measure_demo
from loadtest.memory import MemoryPlan, measure_memory
from loadtest.memory_report import memory_table
from loadtest.ourselves import run_scenarios
from loadtest.overload import OverloadPlan, measure_overload
from loadtest.overload_bars import FP32, LADDER, NO_DEADLINE
from loadtest.overload_report import overload_plots, overload_table
from loadtest.prepare import Place, Prepared, prepare
from loadtest.recompression import FULL, RecompressionPlan, measure_recompression
from loadtest.scenarios import Scenario, failures, resident_growth
from loadtest.service import Cores
from loadtest.shadow import PROOF, Pair, ShadowPlan, measure_shadow
from loadtest.shadow_report import shadow_table
from loadtest.swaps import SwapPlan, measure_swaps
from loadtest.tail import TailPlan, measure_tail
from loadtest.tail_report import tail_table
from loadtest.turns_report import recompression_table, swaps_table

from tests.small_model import NAME, SmallModel

MIX = ((20, 1.0),)
MACHINE = {
    "cores": 2,
    "processor": "P",
    "flags": ["avx2"],
    "kernel": "6",
    "commit": "c",
    "at": "2026-01-01",
    "versions": {"onnxruntime": "1"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def prepared(tiny_model: SmallModel, folder: Path) -> Prepared:
    tiny = tiny_model.copy(folder)
    return prepare(Place(NAME, tiny.models, tiny.store_folder), "int8-static", folder)


@pytest.fixture
def long_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is refused for those that have come while the system had stopped the worker."""
    monkeypatch.setenv("SLIMRANK_MAX_QUEUE", "100000")


def in_enough_time(measure: Callable[[int], Any], is_enough: Callable[[Any], bool]) -> Any:
    """What is measured, the same again in more and more time where too little has happened on a busy machine."""
    for times in (1, 4, 16):
        if is_enough(found := measure(times)):
            return found
    pytest.fail("too little has happened, however long it was measured")


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    """A comparison moves this process between the cores."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_every_form_is_overloaded_and_its_answers_are_reckoned(prepared: Prepared) -> None:
    plan = OverloadPlan(
        loads=(0.3, 3.0), seconds=0.5, pause_seconds=0.1, bar_seconds=0.5, mix=MIX, connections=16,
        calibration_seconds=0.3,
    )  # fmt: skip
    result = measure_overload(prepared, plan, Cores())
    assert result["forms"] == {FP32: "baseline", NO_DEADLINE: "baseline", LADDER: "auto"}, (
        "its int8 graphs are rejected"
    )
    assert {(one["form"], one["load"]) for one in result["curve"]} == {
        (form, load) for form in result["forms"] for load in plan.loads
    }
    for one in result["curve"]:
        assert "wrong answer" not in one["outcomes"]
        counted = sum(one["outcomes"].values())
        assert one["in_time"] + one["late"] + counted - one["outcomes"]["ok"] == one["offered"] == counted
        assert set(one["in_time_by_variant"]) <= {"auto": {"baseline", "int8-static"}}.get(
            one["asked"], {one["asked"]}
        )
        worst, best = sorted(known["ndcg_at_10"] for known in result["variants"].values())
        assert worst * one["in_time_share"] - 1e-9 <= one["effective_ndcg_at_10"]
        assert one["effective_ndcg_at_10"] <= best * one["in_time_share"] + 1e-9
    assert len(result["bars"]) == 3 * 4 + 2
    told = overload_table({**result, "machine": MACHINE})
    assert told.count("\n| ladder |") == plan.rounds * 2 + 2
    assert all(one["capacity"] > 0 for one in result["at_the_bar"])
    assert all("<polyline" in plot for plot in overload_plots(result))


def test_every_form_has_the_same_arrivals_and_only_the_ladder_is_judged(prepared: Prepared) -> None:
    plan = TailPlan(
        rounds=2, seconds=0.5, mix=MIX, connections=16, pause_seconds=0.1, calibration_seconds=0.3
    )
    result = measure_tail(prepared, plan, Cores())
    names = ["fp32 only", "fp32 only, told 10 ms", "ladder, told 25 ms", "ladder, told 10 ms"]
    assert [one["form"] for one in result["turns"]] == [*names, *names[1:], names[0]]
    assert len({(one["round"], one["offered"]) for one in result["turns"]}) == plan.rounds
    for one in result["turns"]:
        assert "wrong answer" not in one["outcomes"]
        assert one["in_time"] + one["late"] <= one["outcomes"]["ok"]
    tail, in_time, failed = result["bars"]
    judged = [one for one in result["turns"] if one["form"] == names[-1]]
    assert in_time["value"] == sum(one["in_time"] for one in judged) / sum(one["offered"] for one in judged)
    assert failed["met"]
    assert (tail["value"] is None) == any("p99" not in one["latency_ms"] for one in judged)
    told = tail_table({**result, "machine": MACHINE})
    assert all(told.count(f"\n| {name} |") == 1 for name in names)
    assert "\n| a queue without a flaw, fp32 |" in told


@pytest.mark.usefixtures("long_queue")
def test_versions_are_swapped_and_the_answers_show_it(prepared: Prepared) -> None:
    def swapped(times: int) -> dict[str, Any]:
        plan = SwapPlan(
            count=4, share=0.1, mix=MIX, turn_seconds=1.5 * times, settle_seconds=0.1, calibration_seconds=0.3
        )
        return measure_swaps(prepared, plan, Cores())

    def has_changed_or_failed(found: dict[str, Any]) -> bool:
        """A swap that takes a whole turn is not seen in its answers."""
        failed = any(set(turn["outcomes"]) != {"ok"} for turn in found["turns"])
        return found["changes_in_answers"] >= 3 or failed or bool(found["errors"])

    result = in_enough_time(swapped, has_changed_or_failed)
    assert result["errors"] == []
    assert result["changes_in_answers"] >= 3
    assert result["swaps"] == 4
    assert result["take_up_seconds"]["max"] > 0
    assert all(set(turn["outcomes"]) == {"ok"} for turn in result["turns"])
    met = {bar["what"]: bar["met"] for bar in result["bars"]}
    assert met["hot swaps under load: failed requests"]
    assert not met["hot swaps under load: taken up"]  # a thousand were asked for
    assert "4 swaps, each taken up after" in swaps_table({**result, "machine": MACHINE})


def test_a_job_really_runs_beside_the_load(prepared: Prepared) -> None:
    def beside(times: int) -> dict[str, Any]:
        plan = RecompressionPlan(rounds=1, seconds=0.5 * times, mix=MIX, calibration_seconds=0.3, workers=1)
        return measure_recompression(prepared, plan)

    def ran_or_never_ended(found: dict[str, Any]) -> bool:
        """A job may have ended before the load begins, and the next one begin after it has ended."""
        (job,) = found["jobs"]
        return job["running_share"] > 0 or not job.get("jobs_succeeded")

    result = in_enough_time(beside, ran_or_never_ended)
    (job,) = result["jobs"]
    assert "error" not in job
    assert 0 < job["running_share"] <= 1
    assert result["latency_ms"].keys() == {FULL, "open loop, 50%"}
    assert {turn["side"] for turn in result["turns"]} == {"quiet", "beside"}
    assert "a job was running for" in recompression_table({**result, "machine": MACHINE})


def test_a_shadow_is_set_and_what_it_exports_is_held_against_the_graphs(prepared: Prepared) -> None:
    plan = ShadowPlan(
        rounds=2, requests=60, over_seconds=0.3, over_pairs=2, mix=MIX, connections=16,
        pause_seconds=0.1, calibration_seconds=0.3,
    )  # fmt: skip
    pair = Pair(prepared, "baseline")

    def shadowed(times: int) -> dict[str, Any]:
        return measure_shadow(pair, pair, replace(plan, proof_requests=60 * times), Cores())

    # A busy machine drops some; means of lists that are all much alike stand on few of them already.
    result = in_enough_time(shadowed, lambda found: found[PROOF]["outcomes"].get("compared", 0) >= 30)
    assert [(turn["side"], turn["load"]) for turn in result["turns"]] == [
        (side, load)
        for sides in (("quiet", "beside"), ("beside", "quiet"))
        for load in (*list(result["shadows"])[:2], plan.overload, plan.overload)
        for side in sides
    ]
    for told in (result[PROOF], *result["shadows"].values()):
        assert told["sampled"] == told["answers"] == sum(told["outcomes"].values())
        assert set(told["outcomes"]) <= {"compared", "busy", "full"}
    for turn in result["turns"]:
        assert "wrong answer" not in turn["outcomes"]
        assert ("shadow" in turn) == (turn["side"] == "beside")
    proof = result[PROOF]
    assert proof["exported"]["count"] == proof["outcomes"]["compared"]
    for name in ("overlap_at_10", "kendall_tau", "score_distance"):
        assert proof["off"][name] == pytest.approx(0.0, abs=0.1)
    if proof["compared_share"] == 1:
        assert proof["off"]["overlap_at_10"] == pytest.approx(0.0, abs=0.005)
        assert proof["off"]["score_difference"] == pytest.approx(0.0, abs=0.05)
    assert len(result["bars"]) == 4
    told = shadow_table({**result, "machine": MACHINE})
    assert told.count(f"\n| {plan.overload} |") == 2
    assert "\n| proof | " in told


@pytest.mark.usefixtures("long_queue")
def test_scenarios_with_bars_and_watched_memory(tiny_model: SmallModel, tmp_path: Path) -> None:
    own = tiny_model.copy(tmp_path)
    own.compress(["int8-static"], force=True)  # so that nothing has to be made before the storm
    prepared = prepare(Place(NAME, own.models, own.store_folder), "int8-static", tmp_path)

    def both(times: int) -> dict[str, Any]:
        soak = Scenario(
            "soak", "short", MIX, ((0.1, 1.5 * times),),
            bars=((SOAK_MEMORY, resident_growth), (SOAK_FAILURES, failures)), watch_seconds=0.05,
        )  # fmt: skip
        storm = Scenario("swap storm", "short", MIX, ((0.1, 1.0 * times),), beside="swaps")
        return run_scenarios(prepared, (soak, storm), Cores())

    def has_failed_or_looks_and_swaps(found: dict[str, Any]) -> bool:
        growth, failed = found["bars"]
        swaps = found["scenarios"]["swap storm"]["beside"]["swaps"]
        return not failed["met"] or (growth["value"] is not None and swaps >= 2)

    result = in_enough_time(both, has_failed_or_looks_and_swaps)
    growth, failed = result["bars"]
    assert failed["met"]
    assert isinstance(growth["value"], float)
    assert result["scenarios"]["swap storm"]["beside"]["versions"] == 2


def test_workers_share_a_large_table(tmp_path: Path) -> None:
    plan = MemoryPlan(
        table_bytes=64_000_000, workers=(1, 2), asks=40, candidates=500, turn_seconds=0.5, most_turns=200
    )
    result = measure_memory(plan, tmp_path)
    one, two = (result["by_workers"][workers] for workers in ("1", "2"))
    assert set(one["outcomes"]) == set(two["outcomes"]) == {"ok"}
    assert len(two["processes"]) > len(one["processes"])
    touched = [one["table_touched_bytes"], two["table_touched_bytes"]]
    assert [len(by_worker) for by_worker in touched] == [1, 2]
    assert min(map(min, touched)) > 0.9 * plan.table_bytes
    assert two["memory"]["proportional_bytes"] > one["memory"]["proportional_bytes"]
    assert result["bars"][0]["value"] == pytest.approx(
        two["memory"]["proportional_bytes"] / one["memory"]["proportional_bytes"]
    )
    assert "| 2 |" in memory_table({**result, "machine": MACHINE})


def test_ours_serves_another_variant_than_the_peers(prepared: Prepared, folder: Path) -> None:
    baseline = prepare(prepared.place, "baseline", folder / "peers")
    short = {"seconds": 0.3, "open_seconds": 0.3, "warm_up_seconds": 0.1, "settle_seconds": 0.2}
    bench = Bench(rounds=1, counts=(20, 100), rates=((20, 50.0),), **short)
    result = measure_demo(baseline, bench, ["fastapi"], "int8-static")
    assert result["servers"].keys() == {"fastapi", "slimrank", "empty FastAPI route"}
    assert all(set(turn["outcomes"]) == {"ok"} for turn in result["turns"])
    assert result["ratios"]["100"]["best_peer"] == "fastapi"
    assert [bar["unit"] for bar in result["bars"]] == ["x", "%"]
