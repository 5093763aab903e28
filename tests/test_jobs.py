"""The job queue: what each call does, across threads, processes and damaged files."""

import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from app import jobs_file
from app.errors import ConfigurationError, Conflict, Overloaded, ServiceError, UnknownJob
from app.job import MAX_LINE_CHARACTERS
from app.jobs import FINISHED, MAX_ATTEMPTS, MAX_LOG_LINES, MAX_QUEUED, Job, JobCancelled, JobQueue
from hypothesis import given
from hypothesis import strategies as st

PROCESSES = 4
JOBS = 40


@pytest.fixture
def queue(tmp_path: Path) -> JobQueue:
    return JobQueue(tmp_path / "store" / "jobs.sqlite")


def running(queue: JobQueue, model: str = "m") -> Job:
    queue.submit(model)
    job = queue.claim("this test")
    assert job is not None
    return job


def test_a_job_goes_from_queued_to_succeeded(queue: JobQueue) -> None:
    job = queue.submit("movielens", recipes=["int8"], force=True)
    assert (job.model, job.recipes, job.recipe, job.force) == ("movielens", ["int8"], None, True)
    assert (job.state, job.attempts, job.started_unix_seconds) == ("queued", 0, None)
    claimed = queue.claim("this test")
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.attempts) == (job.id, "running", 1)
    queue.progress(job.id, "quantizing", 0.25, "starting on the tables")
    seen = queue.get(job.id)
    assert (seen.step, seen.progress, seen.log) == ("quantizing", 0.25, ["starting on the tables"])
    done = queue.succeed(job.id, {"variants": ["int8"]})
    assert (done.state, done.progress, done.result, done.error) == (
        "succeeded",
        1.0,
        {"variants": ["int8"]},
        None,
    )
    assert done.finished_unix_seconds is not None
    assert queue.claim("this test") is None


def test_a_recipe_of_ones_own_comes_back_as_it_was(queue: JobQueue) -> None:
    recipe = {"name": "mine", "steps": [{"technique": "prune", "sparsity": 0.5}]}
    assert queue.get(queue.submit("m", recipe=recipe).id).recipe == recipe


def test_an_equal_waiting_job_is_given_back(queue: JobQueue) -> None:
    first = queue.submit("m", recipe={"name": "x", "seed": 1})
    assert queue.submit("m", recipe={"seed": 1, "name": "x"}).id == first.id
    different = [
        queue.submit("m"),
        queue.submit("n"),
        queue.submit("m", force=True),
        queue.submit("m", recipes=[]),
        queue.submit("m", recipes=["x"]),
    ]
    assert len({first.id, *(job.id for job in different)}) == 6
    queue.claim("this test")
    assert queue.submit("m", recipe={"name": "x", "seed": 1}).id != first.id, (
        "a running job has begun already"
    )


def test_jobs_are_claimed_in_order_and_listed_newest_first(queue: JobQueue) -> None:
    submitted = [queue.submit(name).id for name in "abc"]
    claimed = [queue.claim("this test") for _ in "abc"]
    assert [job.id for job in claimed if job] == submitted
    assert [job.id for job in queue.jobs()] == submitted[::-1]
    assert [job.id for job in queue.jobs(limit=2)] == submitted[:0:-1]
    assert [job.id for job in queue.running()] == submitted


def test_a_full_queue_takes_no_more(queue: JobQueue) -> None:
    first = queue.submit("0")
    for number in range(1, MAX_QUEUED):
        queue.submit(str(number))
    with pytest.raises(Overloaded, match="waiting"):
        queue.submit("one more")
    assert queue.submit("0").id == first.id, "an equal job needs no room"
    queue.cancel(first.id)
    queue.submit("one more")


def test_an_unknown_job(queue: JobQueue) -> None:
    for call in (queue.get, queue.cancel, queue.stopped):
        with pytest.raises(UnknownJob, match="no job 'nope'"):
            call("nope")


def test_a_waiting_job_is_cancelled_at_once(queue: JobQueue) -> None:
    job = queue.submit("m")
    assert queue.cancel(job.id).state == "cancelled"
    assert queue.claim("this test") is None


def test_a_running_job_is_asked_to_stop(queue: JobQueue) -> None:
    job = running(queue)
    asked = queue.cancel(job.id)
    assert (asked.state, asked.cancel_requested) == ("running", True)
    assert queue.cancel(job.id) == asked
    with pytest.raises(JobCancelled):
        queue.progress(job.id, "a step", 0.5)
    assert queue.stopped(job.id).state == "cancelled"


def test_work_that_ends_before_it_notices_the_cancelling_counts(queue: JobQueue) -> None:
    job = running(queue)
    queue.cancel(job.id)
    assert queue.succeed(job.id, {}).state == "succeeded"


@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_job_stays_as_it_is(queue: JobQueue, state: str) -> None:
    job = running(queue)
    finish = {
        "succeeded": lambda: queue.succeed(job.id, {}),
        "failed": lambda: queue.fail(job.id, "why"),
        "cancelled": lambda: queue.stopped(job.id),
    }
    done = finish.pop(state)()
    assert done.state == state
    for other in (*finish.values(), lambda: queue.cancel(job.id)):
        with pytest.raises(Conflict, match=job.id):
            other()
    with pytest.raises(JobCancelled):
        queue.progress(job.id, "a step", 0.5)
    assert queue.get(job.id) == done


def test_the_log_keeps_the_last_lines(queue: JobQueue) -> None:
    job = running(queue)
    for number in range(MAX_LOG_LINES + 5):
        queue.progress(job.id, "talking", 0.0, f"line {number}")
    queue.progress(job.id, "talking", 0.0, "x" * (MAX_LINE_CHARACTERS + 1))
    log = queue.get(job.id).log
    assert len(log) == MAX_LOG_LINES
    assert log[0] == "line 6"
    assert log[-1] == "x" * MAX_LINE_CHARACTERS


def test_abandoned_jobs_keep_their_place_and_are_given_up_in_the_end(queue: JobQueue) -> None:
    first = running(queue)
    queue.submit("later")
    for attempt in range(1, MAX_ATTEMPTS):
        queue.progress(first.id, "distilling", 0.5)
        (again,) = queue.requeue_abandoned()
        assert (again.id, again.state, again.progress) == (first.id, "queued", 0.0)
        assert again.log[-1] == "the compressor died at: distilling; trying again"
        claimed = queue.claim("the next one")
        assert claimed is not None
        assert (claimed.id, claimed.attempts) == (first.id, attempt + 1)
    queue.progress(first.id, "distilling", 0.5)
    (failed,) = queue.requeue_abandoned()
    assert failed.state == "failed"
    assert failed.error == "given up after 3 attempts: the compressor died at: distilling"
    assert queue.requeue_abandoned() == []


def test_a_stop_on_purpose_is_not_an_attempt(queue: JobQueue) -> None:
    job = running(queue)
    for _ in range(MAX_ATTEMPTS + 1):
        (again,) = queue.requeue_abandoned(blameless=True)
        assert (again.state, again.attempts) == ("queued", 0)
        queue.claim("the next one")
    assert queue.get(job.id).attempts == 1


def test_an_abandoned_job_that_someone_cancelled_is_cancelled(queue: JobQueue) -> None:
    job = running(queue)
    queue.cancel(job.id)
    (ended,) = queue.requeue_abandoned()
    assert ended.state == "cancelled"


def test_counts_and_durations_outlast_forgotten_jobs(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.job.MAX_FINISHED", 2)
    kept = [running(queue, str(number)) for number in range(4)]
    for job in kept[:3]:
        queue.succeed(job.id, {})
    queue.fail(kept[3].id, "why")
    queue.submit("waits")
    assert queue.counts() == {"queued": 1, "running": 0, "succeeded": 1, "failed": 1, "cancelled": 0}
    durations = queue.durations()
    assert {state: number for state, (number, _) in durations.items()} == {
        "succeeded": 3,
        "failed": 1,
        "cancelled": 0,
    }
    assert all(seconds >= 0 for _, seconds in durations.values())
    with pytest.raises(UnknownJob):
        queue.get(kept[0].id)


@given(fraction=st.floats(allow_nan=False), message=st.text(max_size=50))
def test_any_progress_is_kept_within_bounds(
    tmp_path_factory: pytest.TempPathFactory, fraction: float, message: str
) -> None:
    queue = JobQueue(tmp_path_factory.mktemp("store") / "jobs.sqlite")
    job = running(queue)
    queue.progress(job.id, message, fraction, message)
    seen = queue.get(job.id)
    assert 0.0 <= seen.progress <= 1.0
    assert seen.log == [message]


def test_the_lock_is_held_by_one(queue: JobQueue) -> None:
    other = JobQueue(queue.path)
    with queue.sole_compressor() as first, other.sole_compressor() as second:
        assert (first, second) == (True, False)
    with other.sole_compressor() as now:
        assert now


def _claim_all(path: Path) -> list[str]:
    jobs_file.BUSY_TIMEOUT_SECONDS = 240.0  # for all that the others do, on a slow disk
    queue, claimed = JobQueue(path), []
    while job := queue.claim("a process"):
        queue.progress(job.id, "working", 0.5, "half done")
        queue.succeed(job.id, {})
        claimed.append(job.id)
    return claimed


def test_processes_that_claim_at_once_never_share_a_job(queue: JobQueue) -> None:
    submitted = {queue.submit(str(number)).id for number in range(JOBS)}
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        shares = list(pool.map(_claim_all, [queue.path] * PROCESSES))
    claimed = [identity for share in shares for identity in share]
    assert sorted(claimed) == sorted(submitted)
    assert queue.counts()["succeeded"] == JOBS


def test_threads_that_make_and_fill_a_queue_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store" / "jobs.sqlite"
    with ThreadPoolExecutor(8) as pool:
        identities = list(pool.map(lambda number: JobQueue(path).submit(str(number)).id, range(JOBS)))
    assert {job.id for job in JobQueue(path).jobs()} == set(identities)
    assert len(set(identities)) == JOBS


def test_an_exception_in_the_middle_undoes_the_call(queue: JobQueue) -> None:
    job = running(queue)
    with pytest.raises(TypeError):
        queue.succeed(job.id, {"not JSON": object()})
    assert queue.get(job.id).state == "running"


@pytest.mark.parametrize("content", [b"", b"not a database, by far", b"SQLite format 3\x00" + b"\x07" * 4096])
def test_a_damaged_or_foreign_file_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a job queue"):
        JobQueue(path).counts()
    assert path.read_bytes() == content, "it may be somebody's data"


def test_a_database_of_another_program_or_schema(queue: JobQueue, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).executescript("CREATE TABLE t (x)").connection.close()
    with pytest.raises(ConfigurationError, match="not a job queue"):
        JobQueue(other).submit("m")
    queue.counts()
    sqlite3.connect(queue.path).execute("PRAGMA user_version = 99").connection.close()
    with pytest.raises(ConfigurationError, match="schema 99"):
        queue.counts()


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where a folder should be")
    queue = JobQueue(tmp_path / "store" / "jobs.sqlite")
    for use in (queue.counts, queue.sole_compressor().__enter__):
        with pytest.raises(ServiceError, match="the job queue cannot be used") as caught:
            use()
        assert str(tmp_path) not in caught.value.message


def test_a_queue_that_stays_locked(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs_file.BUSY_TIMEOUT_SECONDS", 0.05)
    queue.submit("m")
    holder = sqlite3.connect(queue.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Overloaded, match="busy"):
        queue.submit("n")
    assert len(queue.jobs()) == 1, "reading needs no lock"
    holder.close()
    assert queue.submit("n").model == "n"
