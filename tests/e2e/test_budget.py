"""The real service on the cores that it is given: how many workers it starts, and what it says of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from app.machine import usable_cores

from tests.e2e.running import is_ready, rank
from tests.processes import REAL_SERVICE, Service, eventually, service
from tests.small_model import SmallModel

_ONE_CORE = ("taskset", "-c", str(min(os.sched_getaffinity(0))))


@contextmanager
def serving(small: SmallModel, before: tuple[str, ...], *flags: str, **settings: Any) -> Iterator[Service]:
    """`slimrank serve` with these flags, once it answers; `before` is what starts it."""
    command = (*before, *REAL_SERVICE, *flags)
    with service(small.models.parent, command=command, compressor=False, **settings) as one:
        eventually(lambda: is_ready(one), "readiness")
        yield one


def summary(one: Service) -> list[str]:
    """What it has said of cores and warned of, in its lines at the start, which end with a word on Ctrl-C."""
    assert one.process.stdout is not None
    lines = (line.decode().rstrip() for line in iter(one.process.stdout.readline, b""))
    at_start = takewhile(lambda line: "Ctrl-C" not in line, lines)
    return [line for line in at_start if line.startswith(("  cores ", "  warning "))]


def told(worker: int) -> dict[str, str]:
    """The environment that a process was started with."""
    pairs = Path(f"/proc/{worker}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


@pytest.mark.parametrize("before", [_ONE_CORE, ()], ids=["one core", "all cores"])
def test_no_number_of_workers_is_one_for_each_core(
    small_model: SmallModel, tmp_path: Path, before: tuple[str, ...]
) -> None:
    expected = 1 if before else usable_cores()
    with serving(small_model.copy(tmp_path), before, "--workers", "0", "--inference-threads", "0") as one:
        eventually(lambda: len(one.workers()) == expected, "all workers")
        workers = "1 worker" if expected == 1 else f"{expected} workers"
        cores = "1 usable core" if expected == 1 else f"{expected} usable cores"
        assert summary(one) == [f"  cores        {workers} x 1 thread, of {cores}"]
        for worker in one.workers():
            assert told(worker)["SLIMRANK_WORKERS"] == str(expected)
            assert told(worker)["SLIMRANK_INFERENCE_THREADS"] == "1"
        assert rank(one).status_code == 200
        assert len(one.workers()) == expected


def test_one_worker_takes_all_cores_for_its_threads(small_model: SmallModel, tmp_path: Path) -> None:
    with serving(small_model.copy(tmp_path), (), inference_threads=0) as one:
        (worker,) = one.workers()
        assert told(worker)["SLIMRANK_INFERENCE_THREADS"] == str(usable_cores())
        assert rank(one).status_code == 200


def test_more_than_the_cores_is_served_and_warned_of(small_model: SmallModel, tmp_path: Path) -> None:
    with serving(small_model.copy(tmp_path), _ONE_CORE, workers=2) as one:
        eventually(lambda: len(one.workers()) == 2, "both workers")
        budget, warning = summary(one)
        assert budget == "  cores        2 workers x 1 thread, of 1 usable core"
        assert warning.startswith("  warning      2 threads are to compute on 1 usable core: they wait")
        assert "set SLIMRANK_WORKERS=0, which fits" in warning
        assert rank(one).status_code == 200
