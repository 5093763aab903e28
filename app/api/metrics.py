"""GET /metrics, for Prometheus."""

from fastapi import APIRouter, Response

from app.api.state import Parts
from app.serving.metrics import CONTENT_TYPE

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(parts: Parts) -> Response:
    """All metrics of all workers, in the Prometheus text format."""
    return Response(parts.metrics.exposition(), media_type=CONTENT_TYPE)
