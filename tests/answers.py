"""What an answer of the API has to be: a success, or an error body that fits its status; and who asked how often."""

import secrets
from collections.abc import Mapping

import httpx
import msgspec

from imagegen_contract.errors import KINDS, ErrorBody, ErrorCode, ErrorDetail
from imagegen_contract.images import ImagesReply
from imagegen_contract.names import REQUEST_ID_HEADER, SHOULD_RETRY_HEADER
from server_process import ServerProcess, wait_until

_LOG_SECONDS = 10.0


class StrictError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The error object with exactly OpenAI's four keys, all of them there."""

    message: str
    type: str
    param: str | None
    code: str


class StrictErrorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error body and nothing else."""

    error: StrictError


def valid_error(status: int, headers: Mapping[str, str], content: bytes) -> ErrorDetail:
    """Return the error of an answer; fail unless body, status, type and headers all fit its code."""
    msgspec.json.decode(content, type=StrictErrorBody)
    error = msgspec.json.decode(content, type=ErrorBody).error
    kind = KINDS[ErrorCode(error.code)]
    assert (status, error.type) == (kind.status, kind.type), error
    assert headers["content-type"] == "application/json"
    assert headers[REQUEST_ID_HEADER]
    assert headers.get(SHOULD_RETRY_HEADER) == (None if kind.retry is None else str(kind.retry).lower())
    assert error.message
    assert not [word for word in ("Traceback", "site-packages", 'File "') if word in error.message]
    return error


def valid_generation(status: int, headers: Mapping[str, str], content: bytes) -> ErrorDetail | None:
    """Return the error of an answer to a generation, None for pictures; fail for an internal error or anything else."""
    if status == 200:
        assert msgspec.json.decode(content, type=ImagesReply).data
        return None
    error = valid_error(status, headers, content)
    assert error.code != ErrorCode.INTERNAL_ERROR, error.message
    return error


def attempts(server: ServerProcess, request_id: str) -> list[int]:
    """Return the statuses that the server gave to ``request_id``, in order: one for each time that it was asked.

    A line is written after its answer, so another request goes in and its line is waited for.
    """
    last = new_request_id()
    httpx.get(f"{server.url}/nowhere", headers={REQUEST_ID_HEADER: last}, timeout=30)
    wait_until(lambda: _statuses(server, last), _LOG_SECONDS, "the log to catch up")
    return _statuses(server, request_id)


def new_request_id() -> str:
    """Return an id that no other request has."""
    return f"test-{secrets.token_hex(8)}"


def _statuses(server: ServerProcess, request_id: str) -> list[int]:
    lines = [line for line in list(server.log) if line.get("request_id") == request_id]
    return [line["status"] for line in lines if line["message"] == "request"]


def address(server: ServerProcess) -> tuple[str, int]:
    """Return host and port of ``server``, for connections that no HTTP client would make."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return host, int(port)
