"""What can go wrong with the operator's work, each named by who erred.

OperatorError
    ConfigurationError    there is no way to a cluster: settings, kubeconfig, service account
    Unreachable           the API server did not answer, or not in time
    ApiError              the API server refused; holds status, reason, message and causes
        NotFound          404
        Conflict          409
        _Expired          (cluster.py) 410: a list was too old to go on, and begins anew
    WatchesEnded          (controller.py) kopf ended by itself
"""

import msgspec


class OperatorError(Exception):
    """Base of all."""


class ConfigurationError(OperatorError):
    """There is no way to a cluster."""


class Unreachable(OperatorError):
    """No answer of the API server."""


class Cause(msgspec.Struct, frozen=True):
    """One cause of a refusal: the field and what is wrong with it."""

    reason: str = ""
    message: str = ""
    field: str = ""


class ApiError(OperatorError):
    """A reply that is not 2xx. ``retry_after`` is in seconds, 0 when the API server asks for no pause."""

    def __init__(
        self, status: int, reason: str, message: str, causes: tuple[Cause, ...] = (), retry_after: float = 0.0
    ) -> None:
        super().__init__(f"{message or reason} (HTTP {status})")
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after


class NotFound(ApiError):
    """There is no such object."""


class Conflict(ApiError):
    """Somebody else's write, or field, is in the way."""
