"""How a pod's reply reaches the client: its bytes as they are, its headers without what is between us and the pod."""

import logging
from collections.abc import Sequence

from litestar.types import Send

from imagegen_contract import names
from imagegen_router.errors import UpstreamError
from imagegen_router.forwarder import Reply

_LOG = logging.getLogger("imagegen.replies")

Headers = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, 7.6.1, and those that older software sends."""

OURS = b"x-imagegen-"
"""What headers between router and pod begin with."""

_NOT_TO_CLIENTS = HOP_BY_HOP | {b"date", b"server", names.REQUEST_ID_HEADER.encode()}


def to_client(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers of a pod's reply that are the client's business."""
    return [each for each in headers if each[0] not in _NOT_TO_CLIENTS and not each[0].startswith(OURS)]


async def pass_on(reply: Reply, send: Send) -> None:
    """Send a reply to the client, piece by piece."""
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": to_client(reply.headers)})
        more = True
        while more:
            piece = await reply.read()
            more = not reply.complete
            await send({"type": "http.response.body", "body": piece, "more_body": more})
    except UpstreamError as error:
        # The client has part of it already. Returning now ends its connection, so that it sees that.
        _LOG.warning("a reply was cut off", extra={"cause": str(error)})
    finally:
        reply.close()
