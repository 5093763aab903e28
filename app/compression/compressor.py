"""The compressor: a process of its own that takes jobs from the queue until it is empty, then ends.

It may be killed at any moment: its job is tried again by the next one, and the store has only whole artifacts. It
runs niced and with few threads, so that serving on the same machine keeps its latency.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import msgspec

from app.compression.site import Selection, Site
from app.errors import ConfigurationError, Conflict, ServiceError
from app.jobs import QUEUE_FILE, Job, JobCancelled, JobQueue
from app.lifeline import end_with_parent
from app.settings import Settings
from app.store import ArtifactStore

LOCK_TAKEN = os.EX_TEMPFAIL
"""Exit code when another living compressor works on the same store."""
Progress = Callable[[float, str], None]
Work = Callable[[Settings, Job, Progress], dict[str, Any]]
"""Does one job; its progress may raise JobCancelled. What it gives becomes the job's result."""
# Steps that report often must not keep the queue's file busy.
_REPORT_SECONDS = 0.5
_LOG = logging.getLogger("compressor")


def main(work: Work | None = None) -> None:
    """Start as `python -m app.compression.compressor --parent <pid>`, with the settings in the environment."""
    parser = argparse.ArgumentParser(description="Run the queued compression jobs.")
    parser.add_argument("--parent", type=int, help="End when this process, the parent, ends.")
    arguments = parser.parse_args()
    if arguments.parent is not None:
        end_with_parent(arguments.parent, signal.SIGKILL)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    settings = Settings()
    be_modest(settings)
    try:
        alone = run_jobs(settings, work)
    except ServiceError as error:  # of the queue: what a job raises ends the job
        _LOG.error("the compressor ends: %s", error.message)
        sys.exit(1)
    sys.exit(0 if alone else LOCK_TAKEN)


def be_modest(settings: Settings) -> None:
    """Yield to serving: niceness and thread counts. Must come before numpy, torch and polars are loaded."""
    os.nice(settings.compressor_nice)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = str(settings.compressor_threads)


def wait_for_idle_cores() -> None:
    """Have a core, from now on, only while nothing else wants it: see SCHED_IDLE in sched(7).

    Niceness alone leaves a job a tenth of a core that serving wants. And a core with a niced job does not count as
    idle, so that the kernel wakes two workers on the other one.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError as error:  # a sandbox may forbid it
        _LOG.warning("jobs yield to serving by their niceness alone: %s", error.strerror)


def run_jobs(settings: Settings, work: Work | None = None) -> bool:
    """Run jobs until none waits; False, without running any, when another compressor of the store is alive."""
    queue = JobQueue(settings.store / QUEUE_FILE)
    with queue.sole_compressor() as alone:
        if not alone:
            return False
        for job in queue.requeue_abandoned():
            _LOG.info("job %s (%s): its compressor died; now %s", job.id, job.model, job.state)
        while claimed := queue.claim(f"pid {os.getpid()}"):
            if settings.compressor_idle and ArtifactStore(settings.store).models():
                wait_for_idle_cores()
            _run(settings, queue, claimed, work or compress)
    return True


def compress(settings: Settings, job: Job, progress: Progress) -> dict[str, Any]:
    """The real work: the pipeline. Raises ConfigurationError where the optional extra is not installed."""
    if find_spec("torch") is None:
        raise ConfigurationError("compression needs torch: install slimrank with its `compress` extra")
    # The optional extra. Loaded with the first job, after the lock is held and the thread counts are set.
    import torch  # noqa: PLC0415

    from app.compression import pipeline  # noqa: PLC0415

    torch.set_num_threads(settings.compressor_threads)
    store = ArtifactStore(settings.store)
    site = Site(settings.models, store, settings.cache, settings.keep_versions)
    selection = Selection(job.recipes, job.recipe, job.force, origin=f"job {job.id}")
    with store.scratch() as folder:
        # Libraries leave files there when this process is killed; the next writer sweeps this folder, and not /tmp.
        tempfile.tempdir = str(folder)
        try:
            return {"variants": msgspec.to_builtins(pipeline.compress(job.model, selection, site, progress))}
        finally:
            tempfile.tempdir = None


def _run(settings: Settings, queue: JobQueue, job: Job, work: Work) -> None:
    """Do one job and write down how it ended, whatever happens."""
    _LOG.info("job %s (%s): started, attempt %d", job.id, job.model, job.attempts)
    try:
        result = work(settings, job, _Reporter(queue, job))
        ended = queue.succeed(job.id, result)
    except JobCancelled:
        ended = _unless_ended(queue, job, queue.stopped)
    except ServiceError as error:
        message = error.message
        ended = _unless_ended(queue, job, lambda identity: queue.fail(identity, message))
    # An entry point of the user's own may even call sys.exit: that ends its job, not the queue.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        _LOG.exception("job %s (%s): internal error", job.id, job.model)
        message = f"internal error: {type(error).__name__}; the service's log has more"
        ended = _unless_ended(queue, job, lambda identity: queue.fail(identity, message))
    _LOG.info("job %s (%s): %s%s", job.id, job.model, ended.state, f": {ended.error}" if ended.error else "")


def _unless_ended(queue: JobQueue, job: Job, end: Callable[[str], Job]) -> Job:
    """End the job, unless the supervisor has just done so (at its time limit, or when it would not stop)."""
    try:
        return end(job.id)
    except Conflict:
        return queue.get(job.id)


class _Reporter:
    """A `Progress` that writes to the queue and the log: every new step, and the fraction now and then."""

    def __init__(self, queue: JobQueue, job: Job) -> None:
        self._queue = queue
        self._job = job
        self._step = ""
        self._reported_at = 0.0

    def __call__(self, fraction: float, step: str) -> None:
        now = time.monotonic()
        new = step != self._step
        if not new and now - self._reported_at < _REPORT_SECONDS:
            return
        self._queue.progress(self._job.id, step, fraction, step if new else None)
        self._step, self._reported_at = step, now
        if new:
            _LOG.info("job %s (%s): %3.0f%% %s", self._job.id, self._job.model, 100 * fraction, step)


if __name__ == "__main__":
    main()
