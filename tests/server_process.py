"""A real server process for tests: started on a free port of loopback, stopped by its own process id."""

import json
import os
import queue
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai

START_SECONDS = 60.0
STOP_SECONDS = 30.0

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


class ServerProcess(Server):
    """A running `imagegen-server`: its address, its log, its end."""

    def __init__(self, process: "subprocess.Popen[str]", started: float) -> None:
        self.process = process
        self.started = started
        self.log: list[dict[str, Any]] = []
        """Every log line so far."""
        self.stderr: list[str] = []
        """What was printed besides log lines, such as a traceback at start."""
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        super().__init__(self._listening_url())

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """End the process, whatever state it is in."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self._reader.join(10)

    def _read(self) -> None:
        if self.process.stderr is None:
            return
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
                self._lines.put(self.log[-1])
            except ValueError:
                self.stderr.append(line)
        self.process.stderr.close()
        self._lines.put(None)

    def _listening_url(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while True:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            if line is None:
                raise AssertionError(f"the server ended with {self.process.wait(5)}: {''.join(self.stderr)}")
            if line["message"] == "listening":
                return line["url"]


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
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--port", "0", "--log-format", "json", *flags],
        env={**os.environ, **(environment or {})},  # noqa: TID251 - a child needs its parent's environment
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
    )
    running: ServerProcess | None = None
    try:
        running = ServerProcess(process, started)
        yield running
    finally:
        if running is not None:
            running.stop()
        elif process.poll() is None:
            process.kill()
            process.wait(10)


def wait_until(condition: Any, seconds: float, what: str, every: float = 0.01) -> None:
    """Call ``condition`` until it is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(every)
