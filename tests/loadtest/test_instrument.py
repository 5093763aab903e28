"""The instrument on real parts: real servers over a real store, faults planted on purpose."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from loadtest.compare import Bench, Comparison
from loadtest.measure import Load, run
from loadtest.prepare import Place, Prepared, prepare
from loadtest.selfcheck import self_check
from loadtest.servers import NotStarted, Server, known_peers, started
from loadtest.yardsticks import empty_route

from tests.small_model import NAME, SmallModel

SHORT = {
    "seconds": 0.3,
    "open_seconds": 0.3,
    "warm_up_seconds": 0.1,
    "settle_seconds": 0.2,
}
BENCH = Bench(rounds=1, counts=(20, 100), rates=((20, 50.0),), **SHORT)


@pytest.fixture(scope="module")
def prepared(tiny_model: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("bench")
    tiny = tiny_model.copy(folder)
    return prepare(Place(NAME, tiny.models, tiny.store_folder), "baseline", folder)


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    """A comparison moves this process between the cores."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_every_planted_fault_is_seen_and_named(prepared: Prepared) -> None:
    found = self_check(prepared, BENCH, rate_seconds=0.2, fault_seconds=2.5, still_seconds=0.2)
    seen = {fault: one["seen"] or "" for fault, one in found["faults"].items()}
    assert "of the requests" not in seen["none"]
    assert "stalls" in seen["stall"]
    assert "1.0% of the requests: wrong answer" in seen["wrong"]
    assert "1.0% of the requests: connection lost" in seen["drop"]
    assert all(rate > 0 for by_count in found["rates"].values() for rate in by_count.values())


def test_servers_are_compared_in_turns_and_give_right_answers(prepared: Prepared) -> None:
    peers = known_peers()
    servers = [peers["slimrank"], peers["fastapi"], empty_route(), one_that_ends_at_once()]
    result = Comparison(prepared, BENCH).run(servers)
    assert list(result["not_started"]) == ["no server"]
    assert result["servers"].keys() == {"slimrank", "fastapi", "empty FastAPI route"}
    assert all(set(turn["outcomes"]) == {"ok"} and turn["requests"] for turn in result["turns"])
    order = [turn["server"] for turn in result["turns"] if turn["load"] == "closed, 20 candidates"]
    assert (order[0], order[-1], len(order)) == ("fastapi", "fastapi", 4)
    assert len(result["bare_loop"]) == 4
    assert all(one["speed"] > 0 for one in (*result["turns"], *result["bare_loop"]))
    for server in result["servers"].values():
        assert server["memory"]["resident_bytes"] > server["memory"]["proportional_bytes"] > 0
        assert server["start_seconds"] > 0


def test_a_resting_server_does_nothing_and_answers_again_when_it_wakes(prepared: Prepared) -> None:
    comparison = Comparison(prepared, BENCH)
    load = Load("open", rates=((50.0, 0.2),), mix=((20, 1.0),))
    with started(known_peers()["fastapi"], prepared, comparison.material.asks[0], 1) as running:
        running.rest()
        stopped = os.waitid(os.P_PID, running.process.pid, os.WSTOPPED)
        assert stopped is not None
        assert stopped.si_status == signal.SIGSTOP
        running.wake()
        outcomes = run(running, load, comparison.material, seed=0).summary().outcomes
    assert set(outcomes) == {"ok"}
    assert not Path(f"/proc/{running.process.pid}").exists()


def test_a_server_that_ends_at_its_start_is_told_with_its_last_words(prepared: Prepared) -> None:
    first = Comparison(prepared, BENCH).material.asks[0]
    with (
        pytest.raises(NotStarted, match="no server ended at its start"),
        started(one_that_ends_at_once(), prepared, first, None),
    ):
        pass


def one_that_ends_at_once() -> Server:
    return Server(name="no server", command=lambda folder, port: ["false"], path="/")
