"""/admin/jobs: what compression is doing, and how to stop it."""

import msgspec
from fastapi import APIRouter

from app.api.answers import JobAnswer, JobList
from app.api.envelope import error_examples
from app.api.security import ADMIN_ERRORS, Admin
from app.api.state import Parts
from app.errors import Conflict, UnknownJob
from app.job import Job
from app.serving.registry import Registry

router = APIRouter(prefix="/admin/jobs", tags=["admin"], dependencies=[Admin])


@router.get("", responses=ADMIN_ERRORS)
def list_jobs(parts: Parts) -> JobList:
    """The newest 100 jobs, newest first."""
    return JobList(jobs=[_answer(job, parts.registry) for job in parts.queue.jobs()])


@router.get("/{job}", responses={**ADMIN_ERRORS, **error_examples(UnknownJob)})
def show_job(job: str, parts: Parts) -> JobAnswer:
    """One job: state, step, progress, the last lines of its log, its result or its error."""
    return _answer(parts.queue.get(job), parts.registry)


@router.delete("/{job}", responses={**ADMIN_ERRORS, **error_examples(UnknownJob, Conflict)})
def cancel_job(job: str, parts: Parts) -> JobAnswer:
    """Cancel a waiting job at once; ask a running one to stop."""
    return _answer(parts.queue.cancel(job), parts.registry)


def _answer(job: Job, registry: Registry) -> JobAnswer:
    answer = JobAnswer.model_validate(msgspec.to_builtins(job))
    return answer.model_copy(update={"not_loaded": _not_loaded(job, registry)})


def _not_loaded(job: Job, registry: Registry) -> dict[str, str]:
    """What a job made and this worker should have taken up, but could not: the reasons, by variant."""
    model = registry.models.get(job.model)
    if model is None or job.result is None:
        return {}
    active = model.active.state.versions
    made = {one["variant"]: one["version"] for one in job.result["variants"]}
    return {
        variant: reason
        for variant, reason in model.failures.items()
        if variant in made and made[variant] == active.get(variant)
    }
