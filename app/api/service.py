"""The application of one worker: its parts, its routes, its life."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import activation, compress, health, jobs, metrics, models, page, rank
from app.api.answers import ErrorAnswer
from app.api.envelope import Envelope, add_error_handlers
from app.api.hot import Hot
from app.api.known_heads import KnownHeads
from app.api.request_ids import RequestIds
from app.api.state import Service
from app.jobs import QUEUE_FILE, JobQueue
from app.serving.metrics import Metrics
from app.serving.registry import Registry
from app.settings import Settings
from app.store import ArtifactStore

ROUTERS = (rank, models, compress, jobs, activation, health, metrics, page)
_DESCRIPTION = """
Ranks candidates for a user with compressed models, and shows what each variant costs and gains.

Every error has one form: `{"error": {"code", "message", "details"}}`.
"""

# Where a route says nothing of other statuses, FastAPI describes a 422 in a form of its own.
_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorAnswer, "description": "Every error has this form."}
}


def create_app(settings: Settings) -> FastAPI:
    """A worker's application. Nothing is loaded before it starts."""
    app: FastAPI = FastAPIOffline(
        redoc_url=None,
        title="Slimrank",
        version=metadata.version("slimrank"),
        description=_DESCRIPTION,
        lifespan=_life,
        responses=_ERRORS,
        redirect_slashes=False,
    )
    app.state.draining = False
    service = app.state.service = _service(settings)
    app.state.known_heads = KnownHeads()
    app.state.request_ids = RequestIds()
    app.state.hot = Hot(settings, service.registry, service.metrics)
    app.add_middleware(Envelope, max_body_bytes=settings.max_body_bytes, on_refused=app.state.hot.refuse_path)
    add_error_handlers(app)
    for resource in ROUTERS:
        app.include_router(resource.router)
    return app


def _service(settings: Settings) -> Service:
    store = ArtifactStore(settings.store)
    queue = JobQueue(settings.store / QUEUE_FILE)
    observed = Metrics(queue)
    return Service(settings, store, queue, observed, Registry(settings, store, observed))


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    registry: Registry = app.state.service.registry
    await registry.start()
    yield
    await registry.stop()
