"""What is built holds what it must: the packages, the model that ships inside, the catalog; not the test data."""

import subprocess
import sys
import tarfile
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
