"""`tools/build_image.py` picks an engine that works, and hands pip's way to its index over as a secret."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "tools/build_image.py"
PASSWORD = "s%20ecret"  # noqa: S105 - of nobody
INDEX = f"https://user:{PASSWORD}@index.example/simple"

RECORDING = """#!/bin/sh
[ "$1" = build ] || exit 0
echo "$@" > {folder}/arguments
for argument in "$@"; do
  case "$argument" in --secret=*) cp "${{argument##*src=}}" {folder}/ ;; esac
done
"""


def engine(folder: Path, name: str, program: str) -> None:
    """Put an engine onto the path of `build`."""
    (folder / name).write_text(program.format(folder=folder))
    (folder / name).chmod(0o755)


def build(folder: Path, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Build an image with the engines in ``folder``."""
    command = [sys.executable, str(PROGRAM), "--name", "pictures", *options]
    around = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "PIP_CONFIG_FILE": "/dev/null", **environment}
    return subprocess.run(command, env=around, capture_output=True, text=True, timeout=60, check=False)


def test_an_index_and_its_password_go_in_as_a_secret_only(tmp_path: Path) -> None:
    engine(tmp_path, "docker", RECORDING)
    certificates = tmp_path / "own.pem"
    certificates.write_text("certificates")
    proxy = f"http://user:{PASSWORD}@proxy.example"
    done = build(
        tmp_path, "--tag", "7", PIP_INDEX_URL=INDEX, PIP_CERT=str(certificates), PIP_FIND_LINKS="/x", HTTPS_PROXY=proxy
    )
    assert done.returncode == 0, done.stderr
    pip = (tmp_path / "pip").read_text().splitlines()
    assert f"index-url = {INDEX}" in pip
    assert "cert = /run/secrets/certificates" in pip
    assert not [line for line in pip if "find-links" in line]
    assert (tmp_path / "certificates").read_text() == "certificates"
    arguments = (tmp_path / "arguments").read_text()
    assert "--tag=pictures:7" in arguments
    assert "--build-arg=VERSION=7" in arguments
    assert "--build-arg=HTTPS_PROXY " in arguments
    assert PASSWORD not in arguments + done.stdout + done.stderr


def test_docker_without_its_daemon_is_passed_over(tmp_path: Path) -> None:
    engine(tmp_path, "docker", "#!/bin/sh\nexit 1\n")
    engine(tmp_path, "podman", RECORDING)
    done = build(tmp_path, "--base", "python:3.13", "--isolation", "chroot")
    assert "built with podman" in done.stdout
    arguments = (tmp_path / "arguments").read_text()
    assert "--format=docker" in arguments
    assert "--build-arg=BASE_IMAGE=python:3.13" in arguments
    assert "--isolation chroot" in arguments


def test_no_engine_is_said_with_what_to_install(tmp_path: Path) -> None:
    done = build(tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert "install podman or buildah, or docker with buildx" in done.stderr


def test_an_engine_that_fails_fails_the_build(tmp_path: Path) -> None:
    engine(tmp_path, "buildah", "#!/bin/sh\nexit 3\n")
    assert build(tmp_path, "--engine", "buildah").returncode == 3
