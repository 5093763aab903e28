"""/admin/jobs: what compression is doing, and how to stop it."""

import msgspec
from fastapi import APIRouter

from app.api.answers import JobAnswer, JobList
from app.api.envelope import error_examples
from app.api.security import ADMIN_ERRORS, Admin
from app.api.state import Parts
from app.errors import Conflict, UnknownJob
from app.job import Job

router = APIRouter(prefix="/admin/jobs", tags=["admin"], dependencies=[Admin])


@router.get("", responses=ADMIN_ERRORS)
def list_jobs(parts: Parts) -> JobList:
    """The newest 100 jobs, newest first."""
    return JobList(jobs=[_answer(job) for job in parts.queue.jobs()])


@router.get("/{job}", responses={**ADMIN_ERRORS, **error_examples(UnknownJob)})
def show_job(job: str, parts: Parts) -> JobAnswer:
    """One job: state, step, progress, the last lines of its log, its result or its error."""
    return _answer(parts.queue.get(job))


@router.delete("/{job}", responses={**ADMIN_ERRORS, **error_examples(UnknownJob, Conflict)})
def cancel_job(job: str, parts: Parts) -> JobAnswer:
    """Cancel a waiting job at once; ask a running one to stop."""
    return _answer(parts.queue.cancel(job))


def _answer(job: Job) -> JobAnswer:
    return JobAnswer.model_validate(msgspec.to_builtins(job))
