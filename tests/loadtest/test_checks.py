"""What the load test takes for a right answer, what it reports, and that it stands alone."""

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest
from loadtest.asks import TOLERANCE, Truth, http_request
from loadtest.ours_report import check_table
from loadtest.peers_bars import peers_bars
from loadtest.peers_report import agreement, peers_plots, peers_table, rates, ratios, short_table
from loadtest.plots import page
from loadtest.servers import known_peers
from loadtest.speed import stalls_ms

ROOT = Path(__file__).parent.parent.parent
SCORES = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1}
TRUTH = Truth(SCORES, threshold=0.8, k=2)


def test_the_right_answer_is_right() -> None:
    assert TRUTH.accepts([("a", 0.9), ("b", 0.8)])
    assert TRUTH.accepts([("a", 0.9 - TOLERANCE / 2), ("b", 0.8)])


@pytest.mark.parametrize(
    "items",
    [
        [("b", 0.8), ("a", 0.9)],
        [("a", 0.9), ("c", 0.7)],
        [("a", 0.9), ("b", 0.7)],
        [("a", 0.9)],
        [("a", 0.9), ("a", 0.9)],
        [("a", 0.9), ("nobody", 0.8)],
        [],
    ],
)
def test_another_order_item_score_or_number_is_wrong(items: list[tuple[str, float]]) -> None:
    assert not TRUTH.accepts(items)


def test_a_request_is_http() -> None:
    head, _, body = http_request("/rank", {"k": 1}, "127.0.0.1:1").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /rank HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"k": 1}


def test_nothing_of_the_application_is_imported() -> None:
    for path in (ROOT / "loadtest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name == "app" or name.startswith("app.") for name in names), path


def test_every_peer_says_how_it_runs() -> None:
    peers = known_peers()
    assert {"slimrank", "fastapi"} <= peers.keys()
    assert len(peers) >= 7
    for server in peers.values():
        assert server.note
        assert all("==" in one for one in server.requirements)


STEADY = {"speed": 50.0, "steady": True}
LOADS = ("closed, 100 candidates", "open, 100 candidates, 5/s")
RATES = [("fastapi", 0, 100.0), ("slimrank", 0, 200.0), ("fastapi", 0, 90.0)]
RATES += [("fastapi", 1, 110.0), ("slimrank", 1, 100.0), ("fastapi", 1, 110.0)]


def a_turn(server: str, number: int, rate: float, load: str) -> dict[str, Any]:
    where = {"round": number, "position": 0, "server": server, "load": load}
    figures = {"requests": 10, "seconds": 1.0, "throughput": rate, "latency_ms": {"p50": 1.0}}
    return {**where, **figures, "outcomes": {"ok": 10}, **STEADY}


def a_result(faster: float = 1.0) -> dict[str, Any]:
    """What a run of two rounds writes; `faster`: the naive server's rate against that of other results."""
    machine = {
        "cores": 2,
        "processor": "P",
        "flags": ["avx2"],
        "kernel": "6",
        "versions": {"onnxruntime": "1"},
    }
    memory = {"resident_bytes": 2_000_000, "proportional_bytes": 1_000_000, "processes": 1}
    described = {
        "note": "plain",
        "requirements": [],
        "start_seconds": 1.0,
        "memory": memory,
        "latency_ms": {LOADS[1]: {"p50": 1.0, "p95": 2.0}},
    }
    scaled = [(name, n, rate * faster if name == "fastapi" else rate) for name, n, rate in RATES]
    return {
        "model": "bench",
        "variant": "baseline",
        "machine": machine | {"commit": "c", "at": "2026-01-01"},
        "bench": {"rounds": 2, "connections": 8},
        "bare_loop": [
            {"round": 0, "candidates": 100, "json": one, "per_second": rate, **STEADY}
            for one, rate in ((False, 500.0), (True, 400.0))
        ],
        "servers": {"fastapi": described, "slimrank": described},
        "not_started": {"torchserve": "no Java"},
        "turns": [a_turn(*one, load) for one in scaled for load in LOADS],
    }


def test_ratios_are_taken_within_a_round() -> None:
    table = peers_table(a_result())
    (naive,) = (line for line in table.splitlines() if line.startswith("| fastapi |"))
    # The mean of the naive server's two turns: 95 / 200 in the first round, 110 / 100 in the second.
    assert "[0.47, 1.10]" in naive or "[0.48, 1.10]" in naive
    assert "-5% [-10%, +0%]" in table
    assert "500/s, and 400/s with JSON" in table


def test_rates_are_told_for_one_speed_of_the_core() -> None:
    result = a_result()
    before = rates(result, LOADS[0])
    for turn in result["turns"]:
        if turn["round"] == 1:  # a stranger takes half of the core
            turn["speed"] /= 2
            turn["throughput"] /= 2
    after = rates(result, LOADS[0])
    assert ratios(result, LOADS[0]) == ratios(a_result(), LOADS[0])
    assert after["fastapi"][0] / after["fastapi"][1] == before["fastapi"][0] / before["fastapi"][1]


def test_a_server_that_did_not_start_is_named() -> None:
    assert "torchserve did not start and is left out." in peers_table(a_result())


def test_two_runs_agree_or_the_report_says_that_they_do_not() -> None:
    assert "they agree within 10%" in agreement(a_result(1.05), a_result())
    assert "1 of them do NOT agree within 10%" in agreement(a_result(1.2), a_result())
    assert "(fastapi, closed, 100 candidates" in agreement(a_result(1.2), a_result())
    other = a_result()
    other["machine"]["commit"] = "another"
    assert "of different commits or plans" in agreement(a_result(), other)


def test_the_bars_of_the_peers_are_held_against_the_whole_graph_as_well() -> None:
    bars = peers_bars(a_result() | {"bench": {"counts": [100]}})
    ours, whole = bars[:2], bars[2:]
    assert all(bar["value"] is not None for bar in ours)
    assert [bar["what"] for bar in whole] == [
        f"{bar['what']}, the whole graph for each request" for bar in ours
    ]
    assert not any(bar["met"] for bar in whole), "it was not measured"


def test_the_short_table_counts_failures() -> None:
    result = a_result()
    result["turns"][0]["outcomes"] = {"ok": 7, "wrong answer": 3}
    table = short_table([result])
    assert "| **slimrank** | 150 |" in table
    assert "3 failed or wrong answers" in table


@pytest.mark.parametrize(("reached", "verdict"), [(400.0, "it is not the limit"), (150.0, "IT IS THE LIMIT")])
def test_the_report_says_when_the_generator_is_the_limit(reached: float, verdict: str) -> None:
    machine = a_result()["machine"]
    rates = {"null server": {"100": reached}, "empty FastAPI route": {"100": 50.0}}
    table = check_table(
        {"machine": machine, "rates": rates, "faults": {"none": {"seen": None}}}, {"100": 100.0}
    )
    assert verdict in table
    assert "| none | nothing |" in table


def test_the_report_tells_how_long_the_machine_stood_still() -> None:
    result = {"machine": a_result()["machine"], "rates": {"null server": {"100": 1.0}}, "faults": {}}
    stalls = {"seconds": 60.0, "ms": [40.62, 10.5, 0.6]}
    told = check_table({**result, "stalls": stalls}, {})
    assert "In 60 s without a server, the servers' core stood still 3 times" in told
    assert "40.6, 10.5, 0.6" in told


def test_a_core_that_is_looked_at_is_left_as_it_was() -> None:
    before = os.sched_getaffinity(0)
    found = stalls_ms(min(before), 0.05)
    assert os.sched_getaffinity(0) == before
    assert all(one >= 0.5 for one in found)
    assert found == sorted(found, reverse=True)


def test_the_page_is_complete_and_needs_nothing_else() -> None:
    result = a_result()
    html = page("title", [peers_table(result)], peers_plots(result))
    assert "<svg" in html
    assert "<table>" in html
    assert "http" not in html
    assert "| " not in html
