"""HTTP/1.1 as uvicorn speaks it, but with our error body also for what its parser refuses before there is a request."""

import secrets

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from imagegen_contract.errors import ErrorCode, error_body
from imagegen_contract.names import REQUEST_ID_HEADER

_BODY = msgspec.json.encode(error_body(ErrorCode.INVALID_REQUEST, "this is not valid HTTP/1.1"))


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words, as text/plain
        """Refuse what is no HTTP, and end the connection."""
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            "content-type: application/json\r\n"
            "connection: close\r\n"
            f"content-length: {len(_BODY)}\r\n"
            f"{REQUEST_ID_HEADER}: req_{secrets.token_hex(12)}\r\n\r\n"
        )
        self.transport.write(head.encode() + _BODY)
        self.transport.close()
