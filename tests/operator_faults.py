"""Operators that reach a real API server by way of a proxy which makes things go wrong."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster.api import Api
from cluster.api_proxy import ApiProxy
from cluster.api_requests import ApiRequest
from operator_process import OperatorProcess, start_operator
from operator_scenes import IMAGE, condition, image_model
from server_process import wait_until

SECONDS = 60.0
FLAGS = ("--server-image", IMAGE, "--lease-seconds", "10", "--watch-silence-seconds", "12")
"""Short times, so that what takes two minutes by default shows in ten seconds."""


class Scene:
    """A namespace and the operators in it; each of them goes by way of the proxy."""

    def __init__(self, kubernetes: Api, proxy: ApiProxy, folder: Path, stack: ExitStack) -> None:
        self.kubernetes = kubernetes
        self.proxy = proxy
        self._kubeconfig = proxy.kubeconfig(folder / "kubeconfig", namespace=kubernetes.namespace)
        self._stack = stack

    def start(self, *flags: str) -> OperatorProcess:
        """Start an operator; flags given here count more than FLAGS."""
        return self._stack.enter_context(start_operator(self._kubeconfig, self.kubernetes.namespace, *FLAGS, *flags))

    def lead(self, *flags: str) -> OperatorProcess:
        """Start an operator and wait until it leads and watches."""
        operator = self.start(*flags)
        operator.wait_leading()
        self.proxy.wait_requested(lambda request: request.verb == "watch", count=5)
        return operator

    def edit(self, name: str, **spec: Any) -> None:
        """Apply an ImageModel and return at once."""
        self.kubernetes.apply(image_model(name, **spec))

    def apply(self, name: str, **spec: Any) -> float:
        """Apply an ImageModel and wait until the operator says that it did its part; return the seconds."""
        self.edit(name, **spec)
        return self.wait_applied(name)

    def wait_applied(self, name: str) -> float:
        """Wait until Reconciled is True of the newest generation; return the seconds."""
        return elapsed(lambda: self.kubernetes.wait_for("ImageModel", name, is_applied, seconds=SECONDS))

    def generations(self, name: str) -> list[tuple[str, int]]:
        """Return UID and generation of the children: these say whether anybody wrote them anew."""
        children = [self.kubernetes.get(kind, name)["metadata"] for kind in ("Deployment", "Service")]
        return [(metadata["uid"], metadata.get("generation", 0)) for metadata in children]


def is_applied(model: dict[str, Any]) -> bool:
    """Return whether the operator has applied the newest generation."""
    found = condition(model, "Reconciled")
    return (found["status"], found["observedGeneration"]) == ("True", model["metadata"]["generation"])


def elapsed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


def wait_messages(operator: OperatorProcess, message: str, count: int = 1) -> list[dict[str, object]]:
    """Wait until the operator has logged a message so often; return these lines."""
    wait_until(lambda: len(operator.messages(message)) >= count, SECONDS, f"{count} log lines {message!r}", 0.05)
    return operator.messages(message)


def of_models(request: ApiRequest) -> bool:
    """Match writes of anything but the Lease."""
    return request.is_write and request.resource != "leases"
