"""The admin key: who may change what serves."""

import hmac
from typing import Annotated

from fastapi import Depends, Header, Request

from app.api.envelope import error_examples
from app.api.state import Parts
from app.errors import AdminClosed, Unauthorized

ADMIN_ERRORS = error_examples(Unauthorized, AdminClosed)
_SCHEME = "bearer"


def require_admin(
    request: Request,
    parts: Parts,
    x_api_key: Annotated[
        str | None, Header(description="The admin key; or send it as a bearer token.")
    ] = None,
) -> None:
    """Let only requests with the admin key pass. Raises AdminClosed without a key in the settings, Unauthorized."""
    key = parts.settings.admin_key
    if key is None or not key.get_secret_value():
        raise AdminClosed("the admin routes are closed: the service was started without SLIMRANK_ADMIN_KEY")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    sent = token.strip() if scheme.lower() == _SCHEME else x_api_key
    if sent is None:
        raise Unauthorized(
            "the admin key is missing: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
        )
    # In constant time, so that a wrong key does not tell how much of it was right.
    if not hmac.compare_digest(sent.encode(), key.get_secret_value().encode()):
        raise Unauthorized("the admin key is wrong")


Admin = Depends(require_admin)
