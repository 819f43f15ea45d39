"""The error codes of the HTTP API, shared by server and router.

A code fixes the status, OpenAI's error type, and whether a client should try again. ``retry`` becomes the header
``x-should-retry``, which the openai SDK obeys: ``None`` leaves the SDK to its own rule (it retries 408, 409, 429
and every status from 500 up).
"""

from enum import StrEnum

import msgspec


class ErrorCode(StrEnum):
    """Every ``error.code`` that a client can see."""

    INVALID_REQUEST = "invalid_request"
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNSUPPORTED_VALUE = "unsupported_value"
    PROMPT_TOO_LONG = "prompt_too_long"
    IMAGE_TOO_LARGE = "image_too_large"
    CONTENT_POLICY_VIOLATION = "content_policy_violation"
    INVALID_API_KEY = "invalid_api_key"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TOO_LARGE = "body_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    QUEUE_FULL = "queue_full"
    MODEL_LOADING = "model_loading"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_FAILED = "model_failed"
    DRAINING = "draining"
    OUT_OF_MEMORY = "out_of_memory"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NON_FINITE_OUTPUT = "non_finite_output"
    UPSTREAM_FAILED = "upstream_failed"
    INTERNAL_ERROR = "internal_error"


class ErrorKind(msgspec.Struct, frozen=True):
    """What a code fixes: HTTP status, OpenAI's ``type``, and the answer to "should the client retry?"."""

    status: int
    type: str
    retry: bool | None = None


_INVALID = "invalid_request_error"
_SERVER = "server_error"

KINDS: dict[ErrorCode, ErrorKind] = {
    ErrorCode.INVALID_REQUEST: ErrorKind(400, _INVALID),
    ErrorCode.UNKNOWN_PARAMETER: ErrorKind(400, _INVALID),
    ErrorCode.UNSUPPORTED_VALUE: ErrorKind(400, _INVALID),
    ErrorCode.PROMPT_TOO_LONG: ErrorKind(400, _INVALID),
    ErrorCode.IMAGE_TOO_LARGE: ErrorKind(400, _INVALID),
    ErrorCode.CONTENT_POLICY_VIOLATION: ErrorKind(400, "image_generation_user_error"),
    ErrorCode.INVALID_API_KEY: ErrorKind(401, "authentication_error"),
    ErrorCode.MODEL_NOT_FOUND: ErrorKind(404, _INVALID),
    ErrorCode.NOT_FOUND: ErrorKind(404, _INVALID),
    ErrorCode.METHOD_NOT_ALLOWED: ErrorKind(405, _INVALID),
    ErrorCode.REQUEST_TIMEOUT: ErrorKind(408, _INVALID),
    ErrorCode.BODY_TOO_LARGE: ErrorKind(413, _INVALID),
    ErrorCode.HEADERS_TOO_LARGE: ErrorKind(431, _INVALID),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: ErrorKind(415, _INVALID),
    ErrorCode.RATE_LIMIT_EXCEEDED: ErrorKind(429, "rate_limit_error"),
    ErrorCode.QUEUE_FULL: ErrorKind(429, "rate_limit_error"),
    ErrorCode.MODEL_LOADING: ErrorKind(503, _SERVER),
    ErrorCode.MODEL_UNAVAILABLE: ErrorKind(503, _SERVER, retry=False),
    ErrorCode.MODEL_FAILED: ErrorKind(503, _SERVER, retry=False),
    ErrorCode.DRAINING: ErrorKind(503, _SERVER),
    ErrorCode.OUT_OF_MEMORY: ErrorKind(503, _SERVER, retry=False),
    ErrorCode.DEADLINE_EXCEEDED: ErrorKind(504, _SERVER, retry=False),
    ErrorCode.NON_FINITE_OUTPUT: ErrorKind(500, _SERVER, retry=False),
    ErrorCode.UPSTREAM_FAILED: ErrorKind(502, _SERVER),
    ErrorCode.INTERNAL_ERROR: ErrorKind(500, _SERVER, retry=False),
}

MAX_RETRY_AFTER_SECONDS = 120
"""The openai SDK honours ``Retry-After`` only in (0, 120] seconds; a larger value makes it give up at once."""


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's error object. ``param`` names the field at fault, where one is."""

    message: str
    type: str
    param: str | None = None
    code: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail


def error_body(code: ErrorCode, message: str, param: str | None = None) -> ErrorBody:
    """Return the body that belongs to ``code``."""
    return ErrorBody(ErrorDetail(message=message, type=KINDS[code].type, param=param, code=code.value))
