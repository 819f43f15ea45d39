"""What a test wants to go wrong between a client and the API server."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cluster.api_requests import ApiRequest, Matcher, writes

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Answered in place of the API server, with a Status object."""

    status: int
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        """The Status object."""
        return json.dumps(status_object(self.status)).encode()

    @property
    def headers(self) -> dict[str, str]:
        """Content type and, when wanted, Retry-After."""
        retry = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return {"content-type": "application/json"} | retry


@dataclass(frozen=True, slots=True)
class Hang:
    """Accepted and never answered."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Forwarded late."""

    seconds: float


Effect = Answer | Hang | Delay


@dataclass(slots=True)
class Fault:
    """An effect on the next ``times`` requests that match; None: on all."""

    effect: Effect
    match: Matcher
    times: int | None = 1
    met: int = 0
    """How many requests it has hit so far."""


@dataclass(slots=True)
class CrashPoint:
    """Calls a function at the n-th matching request from when it was set, and cuts the client off there.

    ``before``: the API server never sees the request. ``after``: it has answered, the client never hears of it.
    """

    moment: Literal["before", "after"]
    countdown: int
    call: Callable[[], None]
    match: Matcher = writes
    request: ApiRequest | None = None
    """The request that it was, once it has happened."""

    def counts_down_to(self, request: ApiRequest) -> bool:
        """Count the request; return whether it is the one."""
        if self.request is not None or not self.match(request):
            return False
        self.countdown -= 1
        if self.countdown > 0:
            return False
        self.request = request
        return True


class Faults:
    """The faults that are set now. Changed by the test's thread, read by the proxy's: each step is one list's."""

    def __init__(self) -> None:
        self.set: list[Fault] = []
        self.crash_points: list[CrashPoint] = []

    def effect(self, request: ApiRequest) -> Effect | None:
        """Return what the first fault that matches does, and count it."""
        for fault in list(self.set):
            if (fault.times is None or fault.met < fault.times) and fault.match(request):
                fault.met += 1
                return fault.effect
        return None

    def crash(self, request: ApiRequest) -> CrashPoint | None:
        """Return the crash point that this request is, if it is one; count it for all."""
        reached = [point for point in list(self.crash_points) if point.counts_down_to(request)]
        return reached[0] if reached else None

    def clear(self) -> None:
        """Forget all."""
        self.set.clear()
        self.crash_points.clear()


def status_object(code: int) -> dict[str, object]:
    """Return a Status object as the API server sends it with an error."""
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": f"injected by the test's proxy: {_REASONS.get(code, code)}",
        "reason": _REASONS.get(code, ""),
        "code": code,
    }


def error_event(code: int) -> bytes:
    """Return the line that ends a watch with an error."""
    return json.dumps({"type": "ERROR", "object": status_object(code)}).encode() + b"\n"
