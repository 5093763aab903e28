"""GET /metrics, for Prometheus."""

import asyncio
import logging

from fastapi import APIRouter, Response

from app.api.state import Parts
from app.serving.metrics import CONTENT_TYPE

_LOG = logging.getLogger(__name__)
router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(parts: Parts) -> Response:
    """All metrics of all workers, in the Prometheus text format."""
    try:
        parts.metrics.flush()
    except Exception:  # noqa: BLE001  (it is logged whole)
        _LOG.exception("metrics: a fault of the service; what was counted is handed over later")
    text = await asyncio.to_thread(parts.metrics.exposition)
    return Response(text, media_type=CONTENT_TYPE)
