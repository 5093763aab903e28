"""The supervisor with real workers, real signals and real sockets. No test depends on how long something takes."""

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from operator import gt
from pathlib import Path
from threading import Event

import httpx2
import pytest
from app.scratch import scratch_folder

from tests.locked import has_open, locked
from tests.processes import HELD, Service, alive, eventually, hold, service


def release(running: Service) -> None:
    (running.folder / "release").touch()


def both_pids(running: Service) -> set[int]:
    """The process ids of the workers that answer, once there are two."""
    seen: set[int] = set()

    def two() -> bool:
        seen.add(running.get("/pid"))
        return len(seen) == 2

    eventually(two, "answers from two workers")
    return seen


def test_workers_get_the_settings_and_the_secret_through_the_environment(tmp_path: Path) -> None:
    with service(tmp_path, admin_key="open sesame", max_queue=7, drain_seconds=1.5) as running:
        settings = running.get("/settings")
        assert settings["max_queue"] == 7
        assert settings["drain_seconds"] == 1.5
        assert settings["admin_key_is_set"]
        for pid in (running.process.pid, *running.children()):
            assert b"sesame" not in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_requests_under_way_finish(
    tmp_path: Path, pool: ThreadPoolExecutor, how: signal.Signals
) -> None:
    with service(tmp_path, workers=2, drain_seconds=60) as running:
        held = hold(running, pool)
        running.signal(how)
        eventually(running.refuses, "new connections are refused")
        assert not any(one.done() for one in held)
        release(running)
        assert sorted(one.result() for one in held) == [str(number) for number in range(HELD)]
        assert running.exit_code() == 0
        running.leaves_nobody()


def test_a_signal_while_workers_are_starting(tmp_path: Path) -> None:
    with service(tmp_path, wait=False, workers=3) as running:
        eventually(running.children, "the first child")
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        running.leaves_nobody()
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_ctrl_c_in_a_terminal_drains_too(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """The terminal signals the whole process group, the workers as well."""
    with service(tmp_path, workers=2, drain_seconds=60) as running:
        held = hold(running, pool)
        running.children()
        os.killpg(running.process.pid, signal.SIGINT)
        eventually(running.refuses, "new connections are refused")
        release(running)
        assert len({one.result() for one in held}) == HELD
        assert running.exit_code() == 0
        running.leaves_nobody()


def test_a_second_signal_ends_at_once(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with service(tmp_path, workers=2, drain_seconds=3600) as running:
        held = hold(running, pool)
        running.signal(signal.SIGTERM)
        eventually(running.refuses, "new connections are refused")
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 1
        running.leaves_nobody()
        assert all(isinstance(one.exception(), httpx2.HTTPError) for one in held)


def test_a_request_that_outlasts_the_drain_does_not_hold_up_the_end(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    with service(tmp_path, drain_seconds=0.1) as running:
        held = hold(running, pool)
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        running.leaves_nobody()
        assert all(isinstance(one.exception(), httpx2.HTTPError) for one in held)


def test_nobody_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with service(tmp_path, workers=2) as running:
        running.queue.submit("stubborn")
        eventually(lambda: len(running.children()) == 4, "two workers, their parent, the compressor")
        eventually(running.queue.running, "the job runs")
        running.signal(signal.SIGKILL)
        running.exit_code()
        running.leaves_nobody()


def test_service_goes_on_when_one_of_two_workers_is_killed_under_load(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    with service(tmp_path, workers=2) as running:
        victim, _ = both_pids(running)
        enough = Event()
        answered, failed = [0] * 4, [0] * 4

        def ask(number: int) -> None:
            while not enough.is_set():
                try:
                    running.get("/pid")
                    answered[number] += 1
                except httpx2.HTTPError:
                    failed[number] += 1

        def each_is_answered() -> None:
            before = list(answered)
            eventually(lambda: all(map(gt, answered, before)), "an answer for each")

        askers = [pool.submit(ask, number) for number in range(4)]
        try:
            each_is_answered()
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: not alive(victim), "the end of the worker")
            eventually(lambda: victim not in both_pids(running), "a worker in its place")
            each_is_answered()
        finally:
            enough.set()
        for asker in askers:
            asker.result()
        assert max(failed) <= 1  # the one that the killed worker had in its hands
        assert len(running.workers()) == 2


def test_a_lone_worker_comes_back_and_no_new_request_is_refused(tmp_path: Path) -> None:
    with service(tmp_path, workers=1) as running:
        for _ in range(2):
            victim = running.get("/pid")
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: not alive(victim), "the end of the worker")
            assert running.get("/pid") != victim


@pytest.mark.parametrize(
    ("how", "name"),
    [(signal.SIGRTMIN, "SIGRTMIN"), (signal.SIGRTMIN + 6, f"signal {signal.SIGRTMIN + 6}")],
    ids=["with a name", "without one"],
)
def test_a_worker_that_any_signal_ends_comes_back(tmp_path: Path, how: int, name: str) -> None:
    with service(tmp_path, workers=1) as running:
        victim = running.get("/pid")
        os.kill(victim, how)
        eventually(lambda: not alive(victim), "the end of the worker")
        assert running.get("/pid") != victim
        assert f"ended by {name}; next start" in running.log()


def test_a_worker_that_cannot_start_ends_the_service_and_says_why(tmp_path: Path) -> None:
    with service(tmp_path, workers=1) as running:
        (tmp_path / "refuse").touch()
        running.children()
        os.kill(running.get("/pid"), signal.SIGKILL)
        assert running.exit_code() == 2
        running.leaves_nobody()
    assert "error: the small worker was told to refuse" in (tmp_path / "log").read_text()


def test_the_metrics_folder_is_fresh_and_does_not_outlive_the_service(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        folder = Path(running.get("/environment")["PROMETHEUS_MULTIPROC_DIR"])
        assert folder.is_dir()
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
    assert not folder.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_start_where_the_metrics_folder_was_removed(tmp_path: Path, workers: int) -> None:
    with service(tmp_path, workers=workers) as running:
        folder = Path(running.get("/environment")["PROMETHEUS_MULTIPROC_DIR"])
        shutil.rmtree(folder)
        victim = running.get("/pid")
        os.kill(victim, signal.SIGKILL)
        eventually(folder.is_dir, "the folder")
        eventually(lambda: len(set(running.workers()) - {victim}) == workers, "a worker in its place")
        assert folder.stat().st_mode & 0o777 == 0o700
        with scratch_folder(folder.parent, "slimrank-metrics-"):
            assert folder.is_dir(), "another service that starts takes it for a dead one's"
        assert f"{folder} was removed, and is made again" in running.log()
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
    assert not folder.exists()


def test_a_job_is_done_in_the_background_and_its_process_ends(tmp_path: Path) -> None:
    with service(tmp_path, admin_key="open sesame", compressor_nice=12, compressor_threads=2) as running:
        job = running.queue.submit("tells")
        done = eventually(lambda: (now := running.queue.get(job.id)).finished_unix_seconds and now, "the end")
        assert done.state == "succeeded"
        niceness = min(os.nice(0) + 12, 19)  # the kernel's most
        assert done.result == {"niceness": niceness, "threads": "2", "secrets": []}
        eventually(lambda: len(running.children()) == 1, "only the worker is left")
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
    assert f"compressor: job {job.id} (tells): succeeded" in (tmp_path / "log").read_text()


def test_the_end_of_the_service_leaves_the_running_job_for_the_next_start(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        job = running.queue.submit("waits")
        eventually(lambda: running.queue.get(job.id).step == "waiting", "the job runs")
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        running.leaves_nobody()
        waiting = running.queue.get(job.id)
        assert (waiting.state, waiting.attempts) == ("queued", 0)
    (tmp_path / "store" / "release").touch()
    with service(tmp_path) as running:
        eventually(lambda: running.queue.get(job.id).state == "succeeded", "the job's end")


def test_a_service_without_a_compressor_leaves_jobs_alone(tmp_path: Path) -> None:
    with service(tmp_path, compressor=False) as running:
        job = running.queue.submit("quick")
        running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        assert running.queue.get(job.id).state == "queued"


@pytest.mark.parametrize(
    ("to_the_worker", "how", "line"),
    [(True, signal.SIGKILL, "ended by SIGKILL"), (False, signal.SIGTERM, "SIGTERM: ending")],
)
def test_a_queue_that_others_hold_keeps_no_worker_and_no_signal_waiting(
    tmp_path: Path, to_the_worker: bool, how: signal.Signals, line: str
) -> None:
    (tmp_path / "patient").touch()
    with service(tmp_path) as running:
        running.queue.counts()
        with locked(running.queue.path):
            eventually(lambda: has_open(running.process.pid, running.queue.path), "the watch waits")
            os.kill(running.get("/pid") if to_the_worker else running.process.pid, how)
            eventually(lambda: line in running.log(), line)
            assert "busy" not in running.log(), "by then the supervisor would have waited in vain"
            if to_the_worker:
                assert running.get("/pid") in running.workers()
        if to_the_worker:
            running.signal(signal.SIGTERM)
        assert running.exit_code() == 0
        running.leaves_nobody()
