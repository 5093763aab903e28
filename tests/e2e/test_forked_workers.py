"""What forked workers must not share: ids of requests, counts, and whatever else a fork would copy."""

import os
import re
import signal
from collections import Counter
from pathlib import Path

import httpx2

from tests.e2e.running import rank, running
from tests.processes import WAIT_SECONDS, Service, alive, eventually
from tests.small_model import SmallModel

OFFLINE = ("torch", "polars", "scipy", "sklearn", "safetensors")


def metrics(one: Service) -> str:
    return httpx2.get(one.url + "/metrics", timeout=WAIT_SECONDS).text


def answered(one: Service) -> float:
    found = re.findall(r'^slimrank_requests_total\{.*outcome="ok".*\} (\S+)$', metrics(one), re.MULTILINE)
    return sum(map(float, found))


def resident(one: Service) -> set[int]:
    """The processes whose memory is told."""
    found = re.findall(r'^slimrank_process_resident_bytes\{pid="(\d+)"\}', metrics(one), re.MULTILINE)
    return set(map(int, found))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), "the end of a process")


def test_no_two_workers_give_the_same_ids(small_model: SmallModel, tmp_path: Path) -> None:
    """Requests without an id go to either worker; each numbers its own, under digits of its own."""
    with running(small_model.copy(tmp_path), workers=2, compressor=False) as one:
        ids: Counter[str] = Counter()

        def both_gave_ids() -> bool:
            ids[rank(one).json()["request_id"]] += 1
            return len({given[:8] for given in ids}) == 2

        eventually(both_gave_ids, "ids of two workers")
        for victim in one.workers():
            kill(victim)
        eventually(lambda: len(one.workers()) == 2, "the next workers")
        before = {given[:8] for given in ids}
        for _ in range(20):
            ids[rank(one).json()["request_id"]] += 1
        assert not before & {given[:8] for given in list(ids)[-20:]}
        assert set(ids.values()) == {1}


def test_metrics_are_right_across_deaths_of_workers_and_of_their_parent(
    small_model: SmallModel, tmp_path: Path
) -> None:
    with running(small_model.copy(tmp_path), workers=2, compressor=False) as one:
        asked = 0

        def ask_and_check() -> None:
            nonlocal asked
            for _ in range(30):
                assert rank(one).status_code == 200
            asked += 30
            # Each worker hands over what it counted a few times a second.
            eventually(lambda: answered(one) == asked, f"{asked} requests counted")
            eventually(lambda: resident(one) == set(one.workers()), "the memory of those who live")

        ask_and_check()
        for with_parent in (False, True):
            if with_parent:
                parent = one.warm_parent()
                assert parent is not None
                kill(parent)
            kill(one.workers()[0])
            eventually(lambda: len(one.workers()) == 2, "the next worker")
            ask_and_check()
        folder = metrics_folder(one)
        assert list(folder.glob("*.db"))
        assert list(folder.glob(f"*_{one.warm_parent()}.db")) == []


def test_counters_take_no_room_of_a_disk_and_are_gone_at_the_end(
    small_model: SmallModel, tmp_path: Path
) -> None:
    """A full disk has no page for a mapped file: whoever writes to it would be ended by SIGBUS."""
    with running(small_model.copy(tmp_path), workers=2, compressor=False) as one:
        folder = metrics_folder(one)
        assert folder.parent == Path("/dev/shm")  # noqa: S108
        one.signal(signal.SIGTERM)
        assert one.exit_code() == 0
        assert not folder.exists()


def metrics_folder(one: Service) -> Path:
    """Where the workers count, by the environment of the process that they were forked from."""
    parent = eventually(one.warm_parent, "the warm parent")
    variables = Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")
    (found,) = (each for each in variables if each.startswith(b"PROMETHEUS_MULTIPROC_DIR="))
    return Path(found.partition(b"=")[2].decode())


def test_the_warm_parent_has_onnxruntime_and_no_session_and_no_compression_library(
    small_model: SmallModel, tmp_path: Path
) -> None:
    with running(small_model.copy(tmp_path), workers=2, compressor=False) as one:
        parent = one.warm_parent()
        mapped = Path(f"/proc/{parent}/maps").read_text()
        assert "onnxruntime" in mapped
        assert "uvloop" in mapped
        assert str(tmp_path) not in mapped  # no artifact, no metrics
        assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1
        for process in (parent, *one.workers()):
            mapped = Path(f"/proc/{process}/maps").read_text()
            for library in OFFLINE:
                assert f"/{library}/" not in mapped
