"""A real router process for tests, and the servers behind it."""

import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from logged_process import LoggedProcess, start_module
from server_process import START_SECONDS, Server, ServerProcess, start_server

TESTS = Path(__file__).parent


class RouterProcess(Server, LoggedProcess):
    """A running `imagegen-router`: its address, its log, its end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        LoggedProcess.__init__(self, process)
        line = self.next_line("listening", START_SECONDS)
        Server.__init__(self, line["url"])
        self.management = line.get("management", line["url"])

    def pods(self) -> list[dict[str, Any]]:
        """Return the pods as the router sees them."""
        return self.status()["pods"]

    def serving(self) -> int:
        """Return how many pods take work."""
        return sum(pod["takes_work"] for pod in self.pods())

    def waiting(self) -> int:
        """Return how many requests wait in it."""
        return sum(model["waiting_requests"] for model in self.status()["models"])

    def running(self) -> int:
        """Return how many requests are on pods."""
        return sum(pod["running_requests"] for pod in self.pods())


@contextmanager
def start_router(
    *flags: str, environment: dict[str, str] | None = None, inside: Sequence[str] = ()
) -> Generator[RouterProcess]:
    """Start a router with ``flags`` on a free port and return it listening; end it afterwards."""
    process = start_module("imagegen_router.main", "--port", "0", *flags, environment=environment or {}, inside=inside)
    running: RouterProcess | None = None
    try:
        running = RouterProcess(process)
        yield running
    finally:
        if running is not None:
            running.stop()
        elif process.poll() is None:
            process.kill()
            process.wait(10)


def endpoints(servers: Sequence[Server], model: str = "imagegen/shapes") -> list[str]:
    """Return the flags that name these servers as the pods of a model."""
    return ["--endpoint", ",".join(f"{model}={server.url}" for server in servers)]


@contextmanager
def sleeping_servers(
    count: int, *flags: str, seconds: float = 0.02, environment: Mapping[str, str] | None = None
) -> Generator[list[ServerProcess]]:
    """Start servers whose device sleeps; ``seconds`` is what one step of 64x64 takes."""
    with ExitStack() as stack:
        start = partial(sleeping_server, *flags, seconds=seconds, environment=environment)
        servers = [stack.enter_context(start()) for _ in range(count)]
        for server in servers:
            server.wait_ready()
        yield servers


@contextmanager
def sleeping_server(
    *flags: str, seconds: float = 0.02, environment: Mapping[str, str] | None = None
) -> Generator[ServerProcess]:
    """Start one such server; it may still be loading."""
    here = {"PYTHONPATH": str(TESTS), "SLEEPING_SECONDS": str(seconds), **(environment or {})}
    with start_server(*flags, environment=here, module="sleeping_server") as server:
        yield server
