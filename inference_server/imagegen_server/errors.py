"""Everything that can go wrong with a request, each raised once and rendered once as OpenAI's error body.

ApiError                  has a code of the contract, which fixes status, type and x-should-retry
    InvalidRequest        the client's fault: a field, a value, the body
    ModelNotFound         no model has that name
    ModelNotReady         the model is loading, failed, or not loaded at all
    QueueFull             too much work waits already
    Draining              the server is going away
    DeadlineExceeded      the request took longer than it may
    OutOfMemory           the device cannot hold it, even alone
    ContentPolicy         the model's safety checker flagged a picture
    NonFiniteOutput       the model computed NaN or infinity
    ClientGone            nobody reads the answer any more; never reaches a client
DeviceLostError           the device is unusable: the process must end
LoadError                 a model cannot be loaded: kept as the model's state, shown to whoever asks for it
    SourceError           (sources/) the weights cannot be had
    WeightsError          (pipelines/components.py) the weights cannot be used
    DeviceError           (pipelines/device.py) the device cannot be used
"""

from imagegen_contract.errors import KINDS, MAX_RETRY_AFTER_SECONDS, ErrorCode
from imagegen_contract.load_failures import LoadFailure


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


class OutOfMemory(ApiError):
    """The device ran out of memory, also with the smallest batch."""

    def __init__(self, message: str = "the device has not enough memory for this request; ask for less") -> None:
        super().__init__(ErrorCode.OUT_OF_MEMORY, message)


class ContentPolicy(ApiError):
    """The model's safety checker flagged a picture."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CONTENT_POLICY_VIOLATION,
            "The model's safety checker flagged a picture of this request; try another prompt or seed.",
            "prompt",
        )


class NonFiniteOutput(ApiError):
    """The latents hold NaN or infinity: no picture can be decoded from them."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NON_FINITE_OUTPUT,
            "The model computed values that are no numbers; try another scheduler, more steps or less guidance.",
        )


class ClientGone(Exception):
    """The client closed the connection."""


class DeviceLostError(RuntimeError):
    """The device answers every call with an error from now on; only a new process helps."""


class LoadError(RuntimeError):
    """A model cannot be loaded. The message is for people, ``reason`` for programs."""

    def __init__(self, message: str, reason: LoadFailure) -> None:
        super().__init__(message)
        self.reason = reason
