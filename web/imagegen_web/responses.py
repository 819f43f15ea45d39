"""How failures are answered: one handler a kind, for every route of a program."""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from imagegen_contract import names
from imagegen_contract.errors import ErrorCode, error_body
from imagegen_web.errors import ApiError, ClientGone
from imagegen_web.paths import METHODS

_LOG = logging.getLogger(__name__)
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; nobody receives it, but logs and metrics show it."""

AnyRequest = Request[Any, Any, Any]


def on_api_error(request: AnyRequest, error: ApiError) -> Response[bytes]:
    """Render a failure of ours."""
    return _error_response(request, error)


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Render what Litestar refuses: no such route, no such method, a body over the limit."""
    if error.status_code == 405:
        return method_not_allowed(request, allowed_methods(error))
    if request.scope["path"] == "*" and request.method == "OPTIONS":
        return Response(b"", status_code=204, headers={"allow": METHODS})
    # The path of the scope: request.url is put together from the host header too, and raises where that is none.
    code, message = {
        404: (ErrorCode.NOT_FOUND, f"there is no route {request.scope['path'][:200]}; see /docs"),
        413: (ErrorCode.BODY_TOO_LARGE, "the body is larger than this server takes"),
    }.get(error.status_code, (ErrorCode.INVALID_REQUEST, "the request cannot be read"))
    return _error_response(request, ApiError(code, message))


def allowed_methods(error: HTTPException) -> list[str]:
    """Return what Litestar allows where it refuses a method."""
    return next(iter((error.headers or {}).values()), "").split(", ")


def method_not_allowed(request: AnyRequest, allowed: Sequence[str]) -> Response[bytes]:
    """Refuse a method."""
    methods = ", ".join(sorted(allowed))
    failure = ApiError(ErrorCode.METHOD_NOT_ALLOWED, f"{request.method} is not allowed here; allowed: {methods}")
    return _error_response(request, failure, {"allow": methods})


def on_client_gone(request: AnyRequest, _: ClientGone) -> Response[bytes]:
    """Note a client that left before its answer."""
    request.scope["state"]["error_code"] = "client_gone"
    return Response(b"", status_code=CLIENT_CLOSED_REQUEST)


def on_unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer a failure that nobody foresaw: the client gets the request id, the log the traceback."""
    _LOG.error("unexpected failure", exc_info=error)
    request_id = request.scope["state"].get("request_id", "")
    failure = ApiError(ErrorCode.INTERNAL_ERROR, f"an internal error; the server's log has it as {request_id}")
    failure.started = True
    return _error_response(request, failure)


EXCEPTION_HANDLERS = {
    ApiError: on_api_error,
    ClientGone: on_client_gone,
    HTTPException: on_http_error,
    Exception: on_unexpected,
}


def error_headers(error: ApiError) -> dict[str, str]:
    """Return the headers of the answer."""
    return {**error.headers, names.STARTED_HEADER: str(int(error.started))}


def error_content(error: ApiError) -> bytes:
    """Return the body of the answer."""
    return msgspec.json.encode(error_body(error.code, error.message, error.param))


def _error_response(request: AnyRequest, error: ApiError, headers: dict[str, str] | None = None) -> Response[bytes]:
    request.scope["state"]["error_code"] = error.code.value
    return Response(
        error_content(error),
        status_code=error.status,
        media_type=MediaType.JSON,
        headers={**error_headers(error), **(headers or {})},
    )
