"""GET /metrics, for Prometheus."""

import asyncio

from fastapi import APIRouter, Response

from app.api.state import Parts
from app.serving.metrics import CONTENT_TYPE

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(parts: Parts) -> Response:
    """All metrics of all workers, in the Prometheus text format."""
    parts.metrics.flush()
    text = await asyncio.to_thread(parts.metrics.exposition)
    return Response(text, media_type=CONTENT_TYPE)
