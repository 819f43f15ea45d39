"""The processes of one test cluster: its folder, its programs, and the guard that ends them."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.guard import marked
from cluster.guarded import Guarded

_STOP_SECONDS = 30.0


class Processes:
    """Programs that write their logs into one private folder; ``stop`` leaves neither a process nor a file.

    They end with the process that started them too, even when that is killed (see guarded.py).
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._guarded = Guarded(parent)
        self.folder = self._guarded.folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """Start a program in a session of its own; stdout and stderr go to ``NAME.log``."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._guarded.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._running[name]

    def kill(self, name: str) -> None:
        """Kill one program at once and wait for its end."""
        process = self._running.pop(name)
        # What enters a PID namespace is a child of the program that brought it there.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        process.kill()
        process.wait(_STOP_SECONDS)

    def check(self) -> None:
        """Raise an AssertionError with the end of its log when a program has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}: {self.log_end(name)}")

    def log_end(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a program's log."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def alive(self) -> Sequence[int]:
        """Return the ids of all living processes of this cluster."""
        return sorted(marked(str(self.folder)))

    def stop(self) -> None:
        """Kill all and remove the folder."""
        self._guarded.end()
        for process in self._running.values():
            process.wait(_STOP_SECONDS)
