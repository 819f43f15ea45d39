"""A server with a router before it, in the place of a server: clients talk to the router, and tests look into both.

With IMAGEGEN_TEST_ROUTED=1 `server_process.start_server` gives every test such a pair, so that the tests of one server
run unchanged through a router.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec

from imagegen_router.settings import RouterSettings
from router_process import RouterProcess, start_router
from server_process import Server, ServerProcess, wait_until

_BEHIND = ("/metrics", "/status")
"""What tests read there is about the device."""

_SHARED = {f"--{field.name.replace('_', '-')}" for field in msgspec.structs.fields(RouterSettings)} - {
    "--port",
    "--management-port",
}


class RoutedServer(ServerProcess):
    """The server's process, the router's address and log."""

    def __init__(self, server: ServerProcess, router: RouterProcess) -> None:
        self.__dict__.update(server.__dict__)
        self.behind = server
        self.router = router
        self.url = router.url
        self.log = router.log

    def get(self, path: str) -> httpx.Response:
        """GET one path of the router, or what only the server knows."""
        return self.behind.get(path) if path in _BEHIND else super().get(path)

    def status(self) -> dict[str, Any]:
        """Return the server's status."""
        return self.behind.status()

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait until the router sends requests to the server."""
        self.behind.wait_ready(seconds)
        wait_until(lambda: any(pod["takes_work"] for pod in self.router.pods()), seconds, "the router to know it")


@contextmanager
def routed(server: ServerProcess, flags: Sequence[str]) -> Generator[RoutedServer]:
    """Put a router with the same settings before a server."""
    models = Server(server.url).get("/v1/models").json()["data"]
    endpoints = ",".join(f"{model['id']}={server.url}" for model in models)
    shared = [
        word for name, value in zip(flags[::2], flags[1::2], strict=True) if name in _SHARED for word in (name, value)
    ]
    defaults = [] if "--default-model" in shared else ["--default-model", models[0]["id"]]
    with start_router("--endpoint", endpoints, *shared, *defaults) as router:
        wait_until(lambda: router.get("/readyz").status_code == 200, 20, "the router to know its models")
        yield RoutedServer(server, router)
