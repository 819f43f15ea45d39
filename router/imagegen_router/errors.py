"""Everything that can go wrong with a request in the router, each raised once and rendered once.

ApiError                  (imagegen_web.errors) has a code of the contract, which fixes status and type
UpstreamError             a pod's part; the forwarder decides what becomes of it
    ConnectFailed         no connection: the pod knows nothing of the request
    ConnectionLost        it ended while a request was on it
        StaleConnection   it was a kept one, and ended just as the request was sent
    BadReply              what came is no HTTP, or not whole
ClientGone                nobody reads the answer any more; never reaches a client
"""


class UpstreamError(Exception):
    """A pod did not answer as it should. The message says how."""


class ConnectFailed(UpstreamError):
    """There is no connection to the pod."""


class ConnectionLost(UpstreamError):
    """The connection ended before its reply was whole."""


class StaleConnection(ConnectionLost):
    """A kept connection ended when it was used again: the pod had closed it, most likely, before the request came."""


class BadReply(UpstreamError):
    """What the pod sent is no HTTP/1.1 reply."""
