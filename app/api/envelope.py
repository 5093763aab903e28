"""What surrounds every request: its id, the bound on its body, one shape for every error, and nothing unhandled.

{"error": {"code": "unknown_model", "message": "there is no model 'movies'", "details": {}}}
"""

import asyncio
import logging
import os
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    BodyTooLarge,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    NotReady,
    Overloaded,
    RequestTimeout,
    ServiceError,
    StoreUnavailable,
    Unauthorized,
    is_expected,
)

_LOG = logging.getLogger(__name__)
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
REQUEST_ID_HEADER = "X-Request-ID"
_RETRY_AFTER_SECONDS = b"1"
_LONGEST_NUMBER = 18
_ENCODE = msgspec.json.Encoder().encode


class Envelope:
    """The outermost layer: gives each request an id, counts its body's bytes, and answers for what nobody handled."""

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, on_refused: Callable[[str, str, ServiceError], None]
    ) -> None:
        """`on_refused` is told the method and path of a request that is refused here, and why."""
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            if announces_more(headers.get("content-length", "0"), self._max_body_bytes):
                error = too_large(self._max_body_bytes)
                self._on_refused(scope["method"], scope["path"], error)
                await error_response(error)(scope, receive, send_with_id)
                return
            await self._app(_with_get_for_head(scope), self._counted(receive), send_with_id)
        except asyncio.CancelledError:
            if not scope["app"].state.draining:
                raise
            # The server cancels what is left when the drain is over; unanswered, its client would get a bare 500.
            _LOG.warning("request %s: not done when the drain ended", request_id)
            if not begun:
                await error_response(NotReady("the service is ending"))(scope, receive, send_with_id)
        except Exception:
            _LOG.exception("request %s: unhandled", request_id)
            if begun:
                raise
            fault = ServiceError(f"a fault of the service; its log has the cause under {request_id}")
            await error_response(fault)(scope, receive, send_with_id)

    def _counted(self, receive: Receive) -> Receive:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_body_bytes:
                raise too_large(self._max_body_bytes)
            return message

        return counted


def _with_get_for_head(scope: Scope) -> Scope:
    """A HEAD request, as load balancers probe with, as the GET of which the server leaves the body out.

    The server goes by its own scope, which stays as it is. FastAPI, unlike Starlette, has no HEAD beside a GET.
    """
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def announces_more(length: str, most: int) -> bool:
    """Whether a Content-Length is a number larger than `most`."""
    digits = length.lstrip("0")
    # Python reads no number of thousands of digits.
    return digits.isdecimal() and (len(digits) > _LONGEST_NUMBER or int(digits) > most)


def too_large(most: int) -> BodyTooLarge:
    """The error of a body of more than so many bytes."""
    return BodyTooLarge(f"the body is larger than {most:,} bytes", max_body_bytes=most)


def error_payload(error: ServiceError) -> bytes:
    """The one shape of every error."""
    return _ENCODE({"error": {"code": error.code, "message": error.message, "details": error.details}})


def error_headers(error: ServiceError) -> list[tuple[bytes, bytes]]:
    """What a client may need to know besides."""
    if isinstance(error, Overloaded | NotReady):
        return [(b"retry-after", _RETRY_AFTER_SECONDS)]
    if isinstance(error, Unauthorized):
        return [(b"www-authenticate", b"Bearer")]
    if isinstance(error, BodyTooLarge | RequestTimeout):
        # The rest of the body is not read: the connection cannot be used again.
        return [(b"connection", b"close")]
    return []


def error_response(error: ServiceError) -> Response:
    """An error as a response."""
    response = Response(error_payload(error), error.status, media_type="application/json")
    response.raw_headers.extend(error_headers(error))
    return response


def add_error_handlers(app: FastAPI) -> None:
    """Let the application turn every error into its response; routes need no try."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(OSError, _on_os_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if not is_expected(error):
        _LOG.error("request %s: %s: %s", request.state.request_id, error.code, error.message)
    return error_response(error)


async def _on_os_error(request: Request, error: Exception) -> Response:
    """What the file system refuses to a route that looks at the store: no descriptors, no permission, a broken disk."""
    assert isinstance(error, OSError)
    if error.errno is None or isinstance(error, ConnectionError | TimeoutError):
        raise error
    _LOG.error("request %s: the file system", request.state.request_id, exc_info=error)
    return error_response(StoreUnavailable(f"the file system refuses: {os.strerror(error.errno)}"))


async def _on_validation_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 - fixed signature
    assert isinstance(error, RequestValidationError)
    parts = []
    for one in error.errors():
        where = ".".join(str(part) for part in one["loc"] if part != "body")
        message = str(one["msg"]).removeprefix("Value error, ")
        parts.append(f"{where}: {message}" if where else message)
    return error_response(InvalidInput("; ".join(parts)[:1000]))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_response(NotFound("there is no such path; GET /docs lists them"))
    known = MethodNotAllowed(f"this path does not take {request.method}; GET /docs says what it takes")
    wrong = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    response = error_response(known if wrong else InvalidInput(str(error.detail)))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


def error_examples(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its OpenAPI description."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        known = found.setdefault(
            error.status, {"description": "", "content": {"application/json": {"examples": {}}}}
        )
        text = (error.__doc__ or "").split("\n")[0]
        known["description"] = f"{known['description']} {text}".strip()
        example = {"error": {"code": error.code, "message": text, "details": {}}}
        known["content"]["application/json"]["examples"][error.code] = {"value": example}
    return found
