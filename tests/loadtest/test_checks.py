"""What the load test takes for a right answer, what it reports, and that it stands alone."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from loadtest.asks import TOLERANCE, Truth, http_request
from loadtest.plots import page
from loadtest.servers import known_peers

from loadtest import report

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


def a_run(server: str, number: int, rate: float) -> dict[str, Any]:
    summary = {
        "requests": 10,
        "seconds": 1.0,
        "throughput": rate,
        "latency_ms": {"p50": 1.0},
        "outcomes": {"ok": 10},
    }
    memory = {"resident_bytes": 2, "proportional_bytes": 1_000_000, "processes": 1}
    loads = {"closed, 100 candidates": summary, "open, 100 candidates, 5/s": summary}
    return {"round": number, "server": server, "start_seconds": 1.0, "memory": memory, "loads": loads}


def a_result() -> dict[str, Any]:
    rates = [("fastapi", 0, 100.0), ("slimrank", 0, 200.0), ("fastapi", 0, 90.0), ("fastapi", 1, 110.0)]
    rates += [("slimrank", 1, 100.0), ("fastapi", 1, 110.0)]
    machine = {
        "cores": 2,
        "processor": "P",
        "flags": ["avx2"],
        "kernel": "6",
        "versions": {"onnxruntime": "1"},
    }
    return {
        "variant": "baseline",
        "machine": machine | {"commit": "c", "at": "2026-01-01"},
        "bare_loop_per_second": {"100": 500.0},
        "runs": [a_run(*one) for one in rates],
    }


def test_ratios_are_taken_within_a_round() -> None:
    table = report.peers_table(a_result())
    (naive,) = (line for line in table.splitlines() if line.startswith("| fastapi |"))
    # 100 / 200, 90 / 200, 110 / 100, 110 / 100: the median lies between, the extremes are those of single rounds.
    assert "[0.45, 1.10]" in naive
    assert "-10%, +0%" in table


def test_the_page_is_complete_and_needs_nothing_else() -> None:
    result = a_result()
    html = page("title", [report.peers_table(result)], report.peers_plots(result))
    assert "<svg" in html
    assert "<table>" in html
    assert "http" not in html
    assert "| " not in html
