"""A process that writes JSON log lines to stderr: its log, its signals, its end."""

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.guarded import of_this_process

STOP_SECONDS = 30.0


class LoggedProcess:
    """A running program of ours."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        """Every log line so far."""
        self.stderr: list[str] = []
        """What was printed besides log lines, such as a traceback at start."""
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def next_line(self, message: str, seconds: float) -> dict[str, Any]:
        """Wait for the next log line with that message; fail when the process ends or the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"waited {seconds:g} s for the log line {message!r}") from None
            if line is None:
                self._lines.put(None)
                raise AssertionError(f"the process ended with {self.process.wait(5)}: {''.join(self.stderr)}")
            if line["message"] == message:
                return line

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self.process.wait(10)

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
                self.kill()
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


def start_module(
    module: str, *flags: str, environment: dict[str, str], cwd: Path | None = None, inside: Sequence[str] = ()
) -> "subprocess.Popen[str]":
    """Start ``python -m module`` with JSON logs and this environment on top of the test's own.

    It does not outlive this process, even one that is killed.
    ``inside`` is a command that runs the one behind it somewhere else, such as in another network namespace.
    """
    return subprocess.Popen(
        [*inside, sys.executable, "-m", module, "--log-format", "json", *flags],
        env=of_this_process().environment | environment,
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
    )
