"""/health/live and /health/ready: is the process there, and can it answer for every model?"""

from fastapi import APIRouter, Request, Response

from app.api.answers import Live, ModelReadiness, Readiness
from app.api.state import Parts

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> Live:
    """Always 200 while the process runs."""
    return Live()


@router.get("/ready", responses={503: {"model": Readiness, "description": "Not for every model, or ending."}})
async def ready(request: Request, response: Response, parts: Parts) -> Readiness:
    """200 when every model has its baseline loaded and the service does not end."""
    registry = parts.registry
    missing = registry.missing()
    models = {}
    for name in registry.names():
        loaded = registry.models.get(name)
        models[name] = ModelReadiness(
            ready=name not in missing,
            loaded={variant: one.rung.version for variant, one in loaded.variants.items()} if loaded else {},
            missing=missing.get(name),
            failures=dict(loaded.failures) if loaded else {},
        )
    draining = request.app.state.draining
    answer = Readiness(
        status="draining" if draining else "not_ready" if missing or not models else "ready", models=models
    )
    if answer.status != "ready":
        response.status_code = 503
    return answer
