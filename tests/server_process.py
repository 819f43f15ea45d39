"""A real server process for tests: started on a free port of loopback, stopped by its own process id."""

import json
import os
import ssl
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai

from logged_process import LoggedProcess, start_module

START_SECONDS = 60.0

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: a call that makes its own reads all certificates of the machine, 35 ms of work for plain HTTP."""


class Server:
    """A running server, known by its address alone."""

    def __init__(self, url: str) -> None:
        self.url = url

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the models are loaded; fail with the log when that takes too long."""
        wait_until(lambda: self.get("/readyz").status_code == 200, seconds, "the server to be ready", every=0.02)

    def get(self, path: str) -> httpx.Response:
        """GET one path."""
        return httpx.get(f"{self.url}{path}", timeout=30, verify=_NO_TLS, trust_env=False)

    def post(self, body: object, **options: Any) -> httpx.Response:
        """POST a generation request: ``body`` as JSON, or as it is when it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"} | options.pop("headers", {})
        options = {"timeout": 120, "verify": _NO_TLS, "trust_env": False, **options}
        return httpx.post(f"{self.url}/v1/images/generations", content=content, headers=headers, **options)

    def status(self) -> dict[str, Any]:
        """Return the body of /status."""
        return self.get("/status").json()

    def client(self, max_retries: int = 0, timeout: float = 120) -> openai.OpenAI:
        """Return the official SDK's client, without retries unless asked."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=max_retries, timeout=timeout)


class ServerProcess(Server, LoggedProcess):
    """A running `imagegen-server`: its address, its log, its end."""

    def __init__(self, process: "subprocess.Popen[str]", started: float) -> None:
        self.started = started
        LoggedProcess.__init__(self, process)
        Server.__init__(self, self.next_line("listening", START_SECONDS)["url"])


@contextmanager
def start_server(
    *flags: str,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
    module: str = "imagegen_server.main",
) -> Generator[ServerProcess]:
    """Start a server with ``flags`` on a free port and return it listening; end it afterwards.

    ``module`` is another program than the real one, from tests/misbehaving.
    """
    started = time.monotonic()
    process = start_module(module, "--port", "0", *flags, environment=environment or {}, cwd=cwd)
    running: ServerProcess | None = None
    try:
        running = ServerProcess(process, started)
        with _before(running, flags) as seen:
            yield seen
    finally:
        if running is not None:
            running.stop()
        elif process.poll() is None:
            process.kill()
            process.wait(10)


@contextmanager
def _before(server: ServerProcess, flags: Sequence[str]) -> Generator[ServerProcess]:
    if os.environ.get("IMAGEGEN_TEST_ROUTED") != "1":  # noqa: TID251 - a test run is a composition root
        yield server
        return
    from routed_server import routed  # noqa: PLC0415 - it is built out of what is here

    with routed(server, flags) as pair:
        yield pair


def wait_until(condition: Any, seconds: float, what: str, every: float = 0.01) -> None:
    """Call ``condition`` until it is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(every)
