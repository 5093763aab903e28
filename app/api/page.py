"""GET /: a page for a person who would rather look than read."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)
_STATIC = Path(__file__).parent / "static"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def page() -> FileResponse:
    """The models, what each variant costs and gains, and a form to try them."""
    return FileResponse(_STATIC / "index.html", headers=_HEADERS)


@router.get("/page.js")
async def script() -> FileResponse:
    """The page's code."""
    return FileResponse(_STATIC / "page.js", headers=_HEADERS, media_type="text/javascript")


@router.get("/page.css")
async def style() -> FileResponse:
    """The page's looks."""
    return FileResponse(_STATIC / "page.css", headers=_HEADERS, media_type="text/css")
