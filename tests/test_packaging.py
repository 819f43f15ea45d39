"""What is built holds what it must: the packages, the model that ships inside, the catalog; not the test data."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

PARTS = [
    "imagegen_contract/images.py",
    "imagegen_contract/models_info.json",
    "imagegen_server/pipelines/loading.py",
    "imagegen_operator/resources/deployment.py",
    "imagegen_cli/main.py",
    "imagegen_shapes/weights/unet/diffusion_pytorch_model.safetensors",
    "imagegen_shapes/weights/tokenizer/vocab.json",
]


def build(source: Path, target: Path, kind: str) -> Path:
    """Build a wheel or an sdist of the checkout at ``source`` and return its file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    return next(target.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def files(wheel: Path) -> set[str]:
    """Return the names in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
def test_a_wheel_holds_the_packages_and_the_model_and_none_of_the_tests(repository: Path, tmp_path: Path) -> None:
    names = files(build(repository, tmp_path, "wheel"))
    assert [part for part in PARTS if part not in names] == []
    left_out = ("shapes-xl", "imagegen_shapes_training", "tests/")
    assert [name for name in names if any(part in name for part in left_out)] == []


@pytest.mark.slow
def test_a_wheel_built_from_the_sdist_is_the_same(repository: Path, tmp_path: Path) -> None:
    sdist = build(repository, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = next(tmp_path.glob("imagegen-*"))
    again = files(build(unpacked, tmp_path / "again", "wheel"))
    assert again == files(build(repository, tmp_path / "direct", "wheel"))


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("server", ["server"]), ("operator", ["operator", "router"]), ("dev", ["server", "operator", "router", "dev"])],
)
def test_a_lock_holds_what_its_extras_name(repository: Path, lock: str, extras: list[str]) -> None:
    """An image is built from its lock alone: what is missing there is missing in the image."""
    named = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[^A-Za-z0-9_-]", line)[0] for extra in extras for line in named[extra]} - {"imagegen"}
    pinned = set(
        re.findall(r"^([A-Za-z0-9_.-]+)==", (repository / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE)
    )
    assert {name.replace("_", "-") for name in wanted} - pinned == set()
