"""Real containers for tests: a store of images of their own, containers without a network, and the way into one.

Images are built with buildah and run with podman on runc, as root and without a daemon. Everything lies in one folder
that no other program uses and that is gone afterwards. What a killed run has left there is cleared up by the next one.
"""

import ctypes
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.guard import MARK, kill
from server_process import wait_until

STORE = Path("/var/tmp/imagegen-test-containers")  # noqa: S108 - locked, and private to root
"""Fixed, so that a run finds what a killed one left. Not under /tmp, which may be memory: an image is 6 GB."""

BASE_IMAGE = "localhost/imagegen-test/python:3.11"

_PROGRAMS = {"buildah": "buildah", "podman": "podman", "runc": "runc", "mmdebstrap": "mmdebstrap", "make": "make"}
"""Programs and their Debian packages."""

_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_CLONE_NEWNET = 0x40000000
_SECONDS = 60.0
_READY_SECONDS = 120.0
_BASE_SECONDS = 1800.0
_CLEAR_SECONDS = 300.0
_WAIT_SECONDS = 3600.0
"""What takes one or two minutes takes ten times as long beside other work. CI as a whole has 90 minutes."""
_KEPT = ("lock", "storage.conf", "images", "running")
"""What a store is; all else beside it is on its way to somewhere."""


def lacking() -> str:
    """Return what this machine lacks for containers, in words; "" when it has everything."""
    missing = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    lacks = [f"Debian packages {' '.join(missing)}"] if missing else []
    return " and ".join([*lacks, *([] if os.geteuid() == 0 else ["to be root"])])


class Container:
    """A running container of the server, reached by `podman exec` and, from inside its network, on loopback."""

    def __init__(self, store: "Store", name: str) -> None:
        self.name = name
        self._store = store

    @property
    def state(self) -> dict[str, Any]:
        """What podman knows of it: ``Pid``, ``Running``, ``ExitCode``."""
        return json.loads(self._store.podman("inspect", "--format", "{{json .State}}", self.name))

    def python(self, program: str) -> str:
        """Run a Python program inside and return what it prints."""
        return self._store.podman("exec", self.name, "python", "-c", program)

    def probe(self, path: str = "/healthz") -> "subprocess.CompletedProcess[str]":
        """Run the image's own probe."""
        return self._store.run("podman", "exec", self.name, "python", "-m", "imagegen_server.probe", path, check=False)

    def wait_ready(self) -> None:
        """Wait until its models are loaded; fail with its log when that takes too long."""
        try:
            wait_until(self._ready, _READY_SECONDS, "the container to be ready", every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; it says: {self.log()[-3000:]}") from None

    def log(self) -> str:
        """Return everything that it printed."""
        done = self._store.run("podman", "logs", self.name)
        return done.stdout + done.stderr

    def send_stop(self) -> None:
        """Send the image's stop signal and return at once."""
        signal = self._store.podman("inspect", "--format", "{{.Config.StopSignal}}", self.name).strip()
        self._store.podman("kill", "--signal", signal, self.name)

    def _ready(self) -> bool:
        assert self.state["Running"], "it ended"
        return self.probe("/readyz").returncode == 0

    @contextmanager
    def network(self) -> Generator[None]:
        """Have this thread, and the processes and threads that it starts, inside the container's network."""
        with _namespace("/proc/thread-self/ns/net") as ours, _namespace(f"/proc/{self.state['Pid']}/ns/net") as theirs:
            _enter(theirs)
            try:
                yield
            finally:
                _enter(ours)


class Store:
    """A folder of images and containers, for one test run at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        settings, temporary = folder / "storage.conf", folder / "tmp"
        temporary.mkdir(exist_ok=True)
        settings.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/running"\n'
        )
        own = {"CONTAINERS_STORAGE_CONF": str(settings), "TMPDIR": str(temporary), MARK: str(folder)}
        self.environment = os.environ | own  # noqa: TID251 - a child's
        """What makes buildah and podman work in this store, and the next run find what is left of them."""
        self.folder = folder
        """Where everything lies."""

    def run(self, *command: str, seconds: float = _SECONDS, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a program in this store; unless told otherwise it must succeed."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done

    def podman(self, *arguments: str) -> str:
        """Run podman and return what it prints."""
        return self.run("podman", "--runtime", "runc", *arguments).stdout

    def make_base(self) -> None:
        """Make the base image out of Debian's packages, unless it is there: no registry is asked for one."""
        if self.run("podman", "image", "exists", BASE_IMAGE, check=False).returncode == 0:
            return
        debian = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_BASE_PACKAGES}", "bookworm"]
        with self.archive() as archive:
            self.run(*debian, str(archive), seconds=_BASE_SECONDS)
            self.run("podman", "import", str(archive), BASE_IMAGE, seconds=_BASE_SECONDS)

    @contextmanager
    def archive(self) -> Generator[Path]:
        """Return the path of a file that is not there yet, for an image on its way; it is removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder / "tmp") as folder:
            yield Path(folder) / "image.tar"

    def clear(self) -> None:
        """Remove what a killed run has left: its programs, containers, mounts and files; images stay."""
        kill(str(self.folder))
        # The programs may be missing, or stumble over what is half there: the rest works without them.
        self.run("podman", "rm", "--all", "--force", "--volumes", "--time", "5", seconds=_CLEAR_SECONDS, check=False)
        self.run("buildah", "rm", "--all", seconds=_CLEAR_SECONDS, check=False)
        self._unmount()
        self._remove_all_but(*_KEPT)

    def empty(self) -> None:
        """Remove everything but the lock."""
        self.clear()
        self._remove_all_but("lock")

    def _unmount(self) -> None:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=True, timeout=_SECONDS)

    def _remove_all_but(self, *names: str) -> None:
        for path in self.folder.iterdir():
            if path.name in names:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    @contextmanager
    def container(self, image: str, *flags: str) -> Generator[Container]:
        """Run ``image`` as a restricted pod would, without any network; end and remove it afterwards."""
        restricted = ["--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp", "--network=none", "--cap-drop=all"]
        # podman asks for more open files and processes than it may give here.
        limits = ["--security-opt=no-new-privileges", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]
        name = self.podman("run", "--detach", *restricted, *limits, *flags, image).split()[-1]
        try:
            yield Container(self, name)
        finally:
            self.podman("rm", "--force", "--volumes", "--time", "5", name)


@contextmanager
def image_store(*, keep: bool) -> Generator[Store]:
    """Return an image store; wait for another run that has it. It is removed afterwards unless it is to be kept."""
    STORE.mkdir(mode=0o700, exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        _wait_for(lock.fileno(), _WAIT_SECONDS)
        clear = Store(STORE).clear if keep else Store(STORE).empty
        clear()
        try:
            yield Store(STORE)
        finally:
            clear()


def _wait_for(lock: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert time.monotonic() < deadline, f"another test run has had {STORE} for {seconds:g} s"
            time.sleep(0.2)
        else:
            return


@contextmanager
def _namespace(path: str) -> Generator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def layers(store: Store, image: str) -> Sequence[tuple[float, str]]:
    """Return the layers that hold anything, the lowest first: megabytes, and what made them."""
    history = json.loads(store.podman("history", "--human=false", "--no-trunc", "--format", "json", image))
    made = [(entry["size"] / 1e6, entry["CreatedBy"]) for entry in history if entry["size"] > 0]
    return made[::-1]
