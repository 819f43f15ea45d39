"""What the router's tests share: pods, a router in front of them, requests."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from misbehaving.pods import MODEL, StubPod
from router_process import RouterProcess, endpoints, start_router
from server_process import Server, wait_until

Route = Callable[..., RouterProcess]
Ask = Callable[..., "Future[httpx.Response]"]


@pytest.fixture
def route() -> Iterator[Route]:
    """Return a function that starts a router in front of some pods and waits until they take work."""
    with ExitStack() as stack:

        def start(
            pods: Sequence[StubPod | Server], *flags: str, model: str = MODEL, up: int | None = None
        ) -> RouterProcess:
            servers = [Server(pod.url) for pod in pods]
            router = stack.enter_context(start_router(*endpoints(servers, model), *flags))
            expected = len(pods) if up is None else up
            wait_until(lambda: router.serving() == expected, 20, f"{expected} pods to take work")
            return router

        yield start


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Return a function that sends a request in a thread of its own; its future is the response."""
    with ThreadPoolExecutor(64) as pool:

        def send(router: Server, **fields: object) -> "Future[httpx.Response]":
            body = {"prompt": "a red circle", "model": MODEL, **fields}
            return pool.submit(router.post, json.dumps(body).encode())

        yield send
