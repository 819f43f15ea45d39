"""Reads what a client sent: the body within its limits, the request within its rules."""

import asyncio
import math
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from imagegen_contract.errors import ErrorCode
from imagegen_contract.images import GenerateImage
from imagegen_contract.names import REQUEST_TIMEOUT_HEADER
from imagegen_contract.validation import shown, value_at, violation
from imagegen_server.errors import ApiError, ClientGone, InvalidRequest

_DECODER = msgspec.json.Decoder(GenerateImage)
_PRIVATE = ("prompt", "negative_prompt")
"""Never repeated in an error: what people write is theirs."""

_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for bytes that are no JSON, too deep, or not UTF-8."""


async def read_body(request: Request[Any, Any, Any], timeout: float) -> bytes:
    """Return the JSON body; raise ApiError for another content type, a slow client, or a body over the limit."""
    content_type = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise ApiError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"content-type: found {shown(content_type)}, allowed is application/json"
        )
    try:
        async with asyncio.timeout(timeout):
            return await request.body()
    except TimeoutError:
        raise ApiError(ErrorCode.REQUEST_TIMEOUT, f"the body did not arrive within {timeout:g} s") from None
    except HTTPException as error:
        if error.status_code >= 500:  # Litestar's answer to a connection that closed inside the body.
            raise ClientGone from None
        raise


def decode_generation(body: bytes) -> GenerateImage:
    """Decode the body of a generation request; raise InvalidRequest that names the field and the rule."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _broken_rule(body, error) from None
    except _UNREADABLE as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def request_timeout(header: str | None, most: float) -> float:
    """Return the seconds that a request may take: what its header says, at most ``most``."""
    if header is None:
        return most
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InvalidRequest(f"header {REQUEST_TIMEOUT_HEADER}: found {shown(header)}, allowed are seconds above 0")
    return min(seconds, most)


def _broken_rule(body: bytes, error: msgspec.ValidationError) -> InvalidRequest:
    broken = violation(error, GenerateImage)
    if broken.kind == "unknown":
        message = f"{shown(broken.path)} is not a parameter of this API; allowed: {', '.join(_FIELDS)}"
        return InvalidRequest(message, broken.path[:128], ErrorCode.UNKNOWN_PARAMETER)
    if not broken.path:
        return InvalidRequest(broken.rule)
    if broken.kind == "missing" or broken.path in _PRIVATE:
        return InvalidRequest(f"{broken.path}: {broken.rule}", broken.path)
    return InvalidRequest(f"{broken.path}: {_found(body, broken.path)}{broken.rule}", broken.path)


def _found(body: bytes, path: str) -> str:
    """Say what stands at ``path``; nothing when the rest of the body, which nobody has read yet, is no JSON."""
    try:
        return f"found {shown(value_at(msgspec.json.decode(body), path))}; "
    except _UNREADABLE:
        return ""


_FIELDS = [field.encode_name for field in msgspec.structs.fields(GenerateImage)]
