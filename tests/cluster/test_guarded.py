"""What a killed run of the tests leaves: nothing, or what the next run clears up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.guard import MARK, is_alive, marked
from cluster.guarded import PREFIX, Guarded, sweep
from server_process import wait_until

TESTS = Path(__file__).parents[1]
SECONDS = 30.0

_RUN = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from cluster.guarded import Guarded
run = Guarded(Path(sys.argv[1]))
program = subprocess.Popen(["sleep", "600"], env=run.environment, start_new_session=True)
print(run.folder, program.pid, run._guard.pid, flush=True)
time.sleep(600)
"""
"""A run of tests that has started a program; its guard's id is told so that a test can kill that too."""

_LOGGED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from logged_process import LoggedProcess, start_module
from server_process import ServerProcess
print(ServerProcess(start_module("imagegen_server.main", "--port", "0", environment={}), 0.0).process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Run:
    """A run of tests in a process of its own."""

    def __init__(self, parent: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(parent), str(TESTS)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        with self.process.stdout as told:
            folder, program, guard = told.readline().split()
        self.folder, self.program, self.guard = Path(folder), int(program), int(guard)

    def kill(self, *, guard: bool) -> None:
        """Kill it at once, its guard first where that is to clear nothing up."""
        if guard:
            os.kill(self.guard, signal.SIGKILL)
            wait_until(lambda: not is_alive(self.guard), SECONDS, "the guard to be gone")
        self.process.kill()
        self.process.wait(SECONDS)

    def alive(self) -> bool:
        """Return whether all that it has made is there."""
        return is_alive(self.program) and self.folder.is_dir()

    def gone(self) -> bool:
        """Return whether nothing of it is left."""
        return not is_alive(self.program) and not self.folder.exists()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path)
    yield started
    started.kill(guard=False)
    sweep(tmp_path)


def test_a_killed_runs_guard_clears_up(run: Run) -> None:
    run.kill(guard=False)
    wait_until(run.gone, SECONDS, "everything of the killed run to be gone")


def test_the_next_run_clears_up_after_one_that_was_killed_with_its_guard(run: Run, tmp_path: Path) -> None:
    run.kill(guard=True)
    assert run.alive()
    mine = Guarded(tmp_path)
    try:
        assert run.gone()
        assert mine.folder.is_dir()
    finally:
        mine.end()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_alive_is_left_alone(run: Run, tmp_path: Path) -> None:
    sweep(tmp_path)
    assert run.alive()


def test_a_run_whose_guard_still_clears_up_is_left_to_it(run: Run, tmp_path: Path) -> None:
    os.kill(run.guard, signal.SIGSTOP)
    run.kill(guard=False)
    sweep(tmp_path)
    assert run.alive()
    os.kill(run.guard, signal.SIGCONT)
    wait_until(run.gone, SECONDS, "the guard to clear up")


def test_what_others_have_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / "imagegen-else").mkdir()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imagegen-else", f"{PREFIX}file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to make a cgroup")
def test_the_next_run_removes_the_cgroups_too(run: Run, tmp_path: Path) -> None:
    root = Path("/sys/fs/cgroup")
    parent = root if (root / "cgroup.controllers").exists() else root / "pids"
    (parent / run.folder.name / "pods" / "pod").mkdir(parents=True)
    run.kill(guard=True)
    sweep(tmp_path)
    assert not (parent / run.folder.name).exists()


@pytest.mark.slow
def test_a_server_ends_with_the_tests_that_started_it() -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _LOGGED, str(TESTS)], capture_output=True, text=True, check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    server = int(killed.stdout)
    wait_until(lambda: not is_alive(server), SECONDS, "the server to be gone")


def test_the_mark_is_found_in_descendants_that_do_not_carry_it(tmp_path: Path) -> None:
    environment = {**os.environ, MARK: str(tmp_path)}  # noqa: TID251 - a child needs its parent's environment
    command = ["sh", "-c", "env -i sleep 600 & echo $!; wait"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert marked(str(tmp_path)) == {process.pid, child}
        finally:
            os.kill(child, signal.SIGKILL)
