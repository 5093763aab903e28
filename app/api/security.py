"""The admin key: who may change what serves."""

import hmac
from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.api.envelope import error_examples
from app.api.state import Parts
from app.errors import AdminClosed, StoreUnavailable, Unauthorized

ADMIN_ERRORS = error_examples(Unauthorized, AdminClosed, StoreUnavailable)
_BEARER = HTTPBearer(auto_error=False, description="The admin key.")
_HEADER = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The admin key, another way to send it."
)


async def require_admin(
    parts: Parts,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    x_api_key: Annotated[str | None, Security(_HEADER)],
) -> None:
    """Let only requests with the admin key pass. Raises AdminClosed without a key in the settings, Unauthorized."""
    key = parts.settings.admin_key
    if key is None or not key.get_secret_value():
        raise AdminClosed("the admin routes are closed: the service was started without SLIMRANK_ADMIN_KEY")
    sent = bearer.credentials if bearer else x_api_key
    if sent is None:
        raise Unauthorized(
            "the admin key is missing: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
        )
    # In constant time, so that a wrong key does not tell how much of it was right; byte by byte as it was sent, which
    # the framework has read as Latin-1.
    if not hmac.compare_digest(sent.encode("latin-1"), key.get_secret_value().encode()):
        raise Unauthorized("the admin key is wrong")


Admin = Depends(require_admin)
