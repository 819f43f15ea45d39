"""What can go wrong with a request in every program that answers one: raised once, rendered once (responses.py).

ApiError                  has a code of the contract, which fixes status, type and x-should-retry
    InvalidRequest        the client's fault: a field, a value, the body
    UnsupportedMediaType  the body is of a type, or packed in a way, that is not read
    ModelNotFound         no model has that name
    ModelNotReady         the model is loading, failed, or not loaded at all
    QueueFull             too much work waits already
    Draining              the program is going away
    DeadlineExceeded      the request took longer than it may
ClientGone                nobody reads the answer any more; never reaches a client
"""

from imagegen_contract.errors import KINDS, MAX_RETRY_AFTER_SECONDS, ErrorCode


class ApiError(Exception):
    """A failure with its place in the contract. ``param`` names the field at fault."""

    def __init__(
        self, code: ErrorCode, message: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.started = False
        """Whether the device had begun; a router may run elsewhere what has not."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell a client whether and when to try again."""
        headers: dict[str, str] = {}
        retry = KINDS[self.code].retry
        if retry is not None:
            headers["x-should-retry"] = str(retry).lower()
        if self.retry_after is not None:
            headers["retry-after"] = str(min(max(1, round(self.retry_after + 0.5)), MAX_RETRY_AFTER_SECONDS))
        return headers


class InvalidRequest(ApiError):
    """The client asked for something that is wrong or cannot be done."""

    def __init__(self, message: str, param: str | None = None, code: ErrorCode = ErrorCode.INVALID_REQUEST) -> None:
        super().__init__(code, message, param)


class UnsupportedMediaType(ApiError):
    """The body is of a type, or packed in a way, that is not read; the headers name what is."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.UNSUPPORTED_MEDIA_TYPE, message)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell a client what to send."""
        return {**super().headers, "accept": "application/json", "accept-encoding": "identity"}


class ModelNotFound(ApiError):
    """No model has the name."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.MODEL_NOT_FOUND, message, "model")


class ModelNotReady(ApiError):
    """The model exists and cannot serve now (``MODEL_LOADING``, ``MODEL_UNAVAILABLE`` or ``MODEL_FAILED``)."""


class QueueFull(ApiError):
    """The bounded queue has no room; ``retry_after`` is when it is predicted to have."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(ErrorCode.QUEUE_FULL, message, retry_after=retry_after)


class Draining(ApiError):
    """The server is shutting down and takes no new work."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(ErrorCode.DRAINING, message, retry_after=retry_after)


class DeadlineExceeded(ApiError):
    """The request's time was over before its pictures were done."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.DEADLINE_EXCEEDED, message)


class ClientGone(Exception):
    """The client closed the connection."""
