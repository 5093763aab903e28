"""The real compressor is killed at any moment of a real job: the store stays whole, and the job is tried again."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import onnx
import pytest
from app.compression.scorer import Scorer
from app.jobs import FINISHED, MAX_ATTEMPTS, QUEUE_FILE, Job, JobQueue
from app.store import STAGING, ArtifactStore
from app.supervisor import Programs

from tests.compression.parts import READY_CARD, ready_model
from tests.processes import WAIT_SECONDS, environment, eventually
from tests.small_model import NAME, SmallModel

# The moments are spread over the whole job, one in each of so many parts of it.
KILLS = 8
# More of them until one job was given up. They come soon after its claim, when all of its work is still to be done, so
# that no job outruns them.
MOST_KILLS = 40
VARIANTS = {"baseline", "int8-dynamic", "int8-static"}


@pytest.fixture
def model(small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path) -> SmallModel:
    card = READY_CARD.replace("candidates = [1, 10, 100]", "candidates = [1, 10]")
    return ready_model(small_model, graph, tmp_path, card)


def start(model: SmallModel) -> "subprocess.Popen[bytes]":
    """The compressor as a service starts it."""
    settings = {"store": model.store_folder, "models": model.models, "cache": model.cache}
    with (model.store_folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*Programs().compressor, "--parent", str(os.getpid())],
            env=environment(**settings, compressor_nice=0, compressor_idle=False),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def moments(rng: random.Random) -> Iterator[float]:
    """Shares of the job from its claim (below 0) to its end, one in each part of it, in any order; then its claim."""
    parts = rng.sample(range(KILLS), KILLS)
    yield from ((part + rng.random()) / KILLS * 1.25 - 0.25 for part in parts)
    yield from repeat(-0.25)


def moment(done: float, rng: random.Random) -> tuple[Callable[[Job], bool], float]:
    """What must have come true of the job, and the pause after it: from the claim on, and all through the work."""
    reached: Callable[[Job], bool] = lambda job: job.progress >= done  # noqa: E731
    return reached, rng.uniform(0.0, 0.6 if done < 0 else 0.1)


def kill_at(model: SmallModel, queue: JobQueue, job: Job, done: float, rng: random.Random) -> None:
    """Run a compressor and kill it at a moment of the job, or after it when the job is faster."""
    reached, pause = moment(done, rng)
    process = start(model)

    def is_time() -> bool:
        now = queue.get(job.id)
        return now.state in FINISHED or (now.state == "running" and reached(now))

    try:
        eventually(is_time, "the job gets there")
        time.sleep(pause)
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


def store_is_whole(store: ArtifactStore) -> None:
    assert [(name, fault) for name, fault in store.verify() if fault is not None] == []
    active = store.active(NAME)
    for state in (active.state, *active.history):
        for variant, version in state.versions.items():
            assert store.manifest(NAME, variant, version).verdict is not None


def test_killed_at_any_moment_it_leaves_a_whole_store_and_the_job_to_the_next(model: SmallModel) -> None:
    model.store_folder.mkdir()
    queue, store, rng = JobQueue(model.store_folder / QUEUE_FILE), model.store, random.Random(20)
    ended: list[str] = []
    job = queue.submit(NAME, force=True)
    for kills, done in enumerate(moments(rng)):
        if kills >= KILLS and ("failed" in ended or kills >= MOST_KILLS):
            break
        kill_at(model, queue, job, done, rng)
        store_is_whole(store)
        with queue.sole_compressor() as alone:
            assert alone, "the lock ends with its holder"
            queue.requeue_abandoned()
        job = queue.get(job.id)
        assert job.state in ("queued", *FINISHED)
        if job.state == "queued":
            assert job.attempts < MAX_ATTEMPTS
            continue
        ended.append(job.state)
        if job.state == "failed":
            assert job.attempts == MAX_ATTEMPTS
            assert (job.error or "").startswith("given up after 3 attempts: the compressor died at: ")
        job = queue.submit(NAME, force=True)
    assert "failed" in ended
    assert set(ended) <= {"failed", "succeeded"}

    assert start(model).wait(WAIT_SECONDS) == 0
    assert queue.get(job.id).state == "succeeded"
    store_is_whole(store)
    versions = store.active(NAME).state.versions
    assert set(versions) == VARIANTS
    for variant, version in versions.items():
        Scorer(store.folder(NAME, variant, version))
    assert list((model.store_folder / STAGING).iterdir()) == [], "what the dead had begun is swept"
    # The newest two, and what a roll-back may need, one state for each job.
    assert max(len(store.manifests(NAME, variant)) for variant in VARIANTS) <= 2 + len(ended) + 1
