"""Reads what a client sent: the body within its limits, the request within its rules."""

import asyncio
import codecs
import json
import math

import msgspec
from litestar.types import HTTPScope, Receive

from imagegen_contract.errors import ErrorCode
from imagegen_contract.images import GenerateImage
from imagegen_contract.names import REQUEST_TIMEOUT_HEADER
from imagegen_contract.validation import shown, value_at, violation
from imagegen_web.errors import ApiError, ClientGone, InvalidRequest, UnsupportedMediaType

_DECODER = msgspec.json.Decoder(GenerateImage)
_PRIVATE = ("prompt", "negative_prompt")
"""Never repeated in an error: what people write is theirs."""

_PLAIN = frozenset({"", "identity"})
"""Content codings that leave a body as it is."""

_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for bytes that are no JSON, too deep, or not UTF-8."""


def header(scope: HTTPScope, name: bytes) -> str | None:
    """Return the first header of that (lower-case) name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def headers(scope: HTTPScope, name: bytes) -> list[str]:
    """Return all headers of that (lower-case) name."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def read_body(scope: HTTPScope, receive: Receive, timeout: float, most_bytes: int) -> bytes:
    """Return the JSON body, without a byte order mark; raise ApiError for what is none.

    That is another content type or coding, a slow client, or a body over the limit.

    Raises ClientGone when the connection ends inside the body.
    """
    _check_head(scope, most_bytes)
    try:
        async with asyncio.timeout(timeout):
            return (await _whole(receive, most_bytes)).removeprefix(codecs.BOM_UTF8)
    except TimeoutError:
        raise ApiError(ErrorCode.REQUEST_TIMEOUT, f"the body did not arrive within {timeout:g} s") from None


def _check_head(scope: HTTPScope, most_bytes: int) -> None:
    for told in headers(scope, b"content-type"):
        content_type = told.split(";")[0].strip().lower()
        if content_type != "application/json":
            raise UnsupportedMediaType(f"content-type: found {shown(content_type)}, allowed is application/json")
    for coding in listed(scope, b"content-encoding"):
        if coding not in _PLAIN:
            raise UnsupportedMediaType(f"content-encoding: found {shown(coding)}, allowed is identity")
    for coding in listed(scope, b"transfer-encoding"):
        if coding != "chunked":
            raise InvalidRequest(f"transfer-encoding: found {shown(coding)}, allowed is chunked")
    length = header(scope, b"content-length") or "0"
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_large(most_bytes)


def listed(scope: HTTPScope, name: bytes) -> list[str]:
    """Return the values of a header that is a list, however many headers they are in."""
    return [value.strip().lower() for text in headers(scope, name) for value in text.split(",")]


async def _whole(receive: Receive, most_bytes: int) -> bytes:
    pieces: list[bytes] = []
    held = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        pieces.append(message["body"])
        held += len(message["body"])
        if held > most_bytes:
            raise _too_large(most_bytes)
        if not message["more_body"]:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(most_bytes: int) -> ApiError:
    return ApiError(ErrorCode.BODY_TOO_LARGE, f"the body is larger than the {most_bytes} bytes that are taken here")


def decode_generation(body: bytes) -> GenerateImage:
    """Decode the body of a generation request; raise InvalidRequest that names the field and the rule."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _broken_rule(body, error) from None
    except _UNREADABLE as error:
        raise InvalidRequest(_no_json(body, error)) from None


def _no_json(body: bytes, error: Exception) -> str:
    """Say why a body cannot be read."""
    if not body.strip():
        return "the body is empty; expected a JSON object"
    encoding = json.detect_encoding(body)[:6].upper()
    if encoding in {"UTF-16", "UTF-32"}:
        return f"the body is {encoding}, allowed is UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8"
    if isinstance(error, RecursionError):
        return "the body is not valid JSON: nested too deep"
    return f"the body is not valid JSON: {error}"


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
        return InvalidRequest(f"the body: {broken.rule}")
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
