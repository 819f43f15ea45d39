"""What a killed run leaves of images and containers: the next one clears it up and works."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import containers
from cluster.binary_images import HELLO, compiled_image
from cluster.guard import is_alive
from conftest import Show
from containers import Store, image_store, lacking

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=f"needs {lacking()} to run containers")]

TESTS = Path(__file__).parents[1]

_KILLED_RUN = """
import os, signal, subprocess, sys
from pathlib import Path
folder, archive, tests = sys.argv[1:]
sys.path.insert(0, tests)
import containers
containers.STORE = Path(folder)
with containers.image_store(keep=True) as store, store.archive() as half:
    store.podman("load", "--input", archive)
    with store.container("localhost/imagegen-test/hello:1") as running:
        half.write_text("half")
        (store.folder / "image.tar").write_text("half")
        (store.folder / "tmp" / "mounted").mkdir()
        store.run("mount", "-t", "tmpfs", "tmpfs", str(store.folder / "tmp" / "mounted"))
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        builds = subprocess.Popen(["sleep", "600"], env=store.environment, **silent)
        print(builds.pid, running.state["Pid"], half, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""
"""Kills itself while it has a container, a mount, a build and half an archive."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return where the store is."""
    monkeypatch.setattr(containers, "STORE", tmp_path / "store")
    yield tmp_path / "store"
    Store(tmp_path / "store").empty()


def killed(folder: Path, archive: Path) -> tuple[list[int], Path]:
    """Have a run killed; return the processes that it left and the archive that it was writing."""
    command = [sys.executable, "-c", _KILLED_RUN, str(folder), str(archive), str(TESTS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == -signal.SIGKILL, run.stderr
    *processes, half = run.stdout.split()
    return [int(pid) for pid in processes], Path(half)


def mounted(folder: Path) -> list[str]:
    """Return the mounts inside a folder."""
    places = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    return [place for place in places if place.startswith(f"{folder}/")]


@pytest.mark.acceptance
def test_the_next_run_clears_up_and_keeps_the_images(folder: Path, tmp_path: Path, show: Show) -> None:
    processes, half = killed(folder, compiled_image("hello", HELLO, tmp_path))
    assert all(map(is_alive, processes))
    assert half.exists()
    with image_store(keep=True) as store:
        assert not any(map(is_alive, processes))
        assert not half.exists()
        assert [place for place in mounted(folder) if "tmp" in Path(place).relative_to(folder).parts] == []
        assert store.podman("ps", "--all", "--quiet") == ""
        assert sorted(path.name for path in folder.iterdir()) == ["images", "lock", "running", "storage.conf", "tmp"]
        for _ in range(2):
            with store.archive() as archive:
                store.podman("save", "--output", str(archive), HELLO)
                assert archive.stat().st_size > 0
    with image_store(keep=False):
        pass
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert mounted(folder) == []
    show("14.1 fault 12: leftovers", "cleared by the next run")


def test_a_step_that_fails_leaves_no_archive(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail() -> None:
        with store.archive() as archive:
            archive.write_text("half")
            store.run("false")

    with pytest.raises(AssertionError, match="false"):
        fail()
    assert list((tmp_path / "tmp").iterdir()) == []


_SLOW_FIXTURE = """
import time, pytest
pytest_plugins = ["container_image"]

@pytest.fixture(scope="session")
def store():
    time.sleep(1.5)
"""

_TESTS = """
import time, pytest

@pytest.mark.timeout(1)
def test_first(store): pass

@pytest.mark.timeout(1)
def test_hangs(store): time.sleep(60)
"""


def test_the_time_limit_of_a_test_begins_when_the_images_are_there(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_SLOW_FIXTURE)
    (tmp_path / "test_images.py").write_text(_TESTS)
    (tmp_path / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    around = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # noqa: TID251 - a child needs its parent's
    done = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, text=True, check=False, timeout=120)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "test_hangs" in done.stdout
