"""`make fleet`: a router and three servers of the embedded model on this machine. Ctrl-C ends all of them."""

import argparse
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

_SERVERS = 3
_MODEL = "imagegen/shapes"


def main() -> int:
    """Start them, wait for the first to end, end the others; return the router's exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=8000, help="the router's; the servers take the ones above it")
    given = arguments.parse_args()
    ports = range(given.port + 1, given.port + 1 + _SERVERS)
    threads = max(1, (os.cpu_count() or 1) // _SERVERS)
    listed = ",".join(f"{_MODEL}=http://127.0.0.1:{port}" for port in ports)
    commands = [
        *(["imagegen_server.main", "--port", str(port), "--cpu-threads", str(threads)] for port in ports),
        ["imagegen_router.main", "--host", given.host, "--port", str(given.port), "--endpoint", listed],
    ]
    # In a session of their own: Ctrl-C comes here alone, and is told to each of them once.
    processes = [
        subprocess.Popen([sys.executable, "-m", *command], start_new_session=True)  # noqa: S603 - our own programs
        for command in commands
    ]
    return _wait(processes)


def _wait(processes: list["subprocess.Popen[bytes]"]) -> int:
    over = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        over.set()

    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, leave)
    while not over.wait(0.2):
        if any(process.poll() is not None for process in processes):
            break
    for process in reversed(processes):
        if process.poll() is None:
            process.terminate()
    codes = [process.wait() for process in processes]
    return codes[-1]


if __name__ == "__main__":
    sys.exit(main())
