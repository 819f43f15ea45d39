#!/usr/bin/env python3
"""Builds a container image with docker, podman or buildah, whichever works here. `make image` calls it.

    python tools/build_image.py --name imagegen-server [--engine buildah] [--base IMAGE] [further build options]

The host's pip configuration and certificates are handed to the build as secrets, so that pip inside reaches the same
package index as outside and neither layers nor history keep them. Needs nothing but the standard library.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_OWN = ["build", "--layers", "--format=docker"]
"""buildah's and podman's own way: keep layers for the next build, and a format that has health checks."""

_ENGINES = {"docker": ["docker", "build"], "podman": ["podman", *_OWN], "buildah": ["buildah", *_OWN]}
"""In the order of preference, with the command that builds."""

_ASKED = {"docker": [["info"], ["buildx", "version"]], "podman": [["info"]], "buildah": [["info"]]}
"""What an engine must answer before it is chosen: docker's daemon may be down, and only buildx knows secrets."""

_ANSWER_SECONDS = 60

_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
"""What says how to reach an index. Paths of this machine, such as find-links, mean nothing inside."""

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Every engine takes these as build arguments and keeps them out of the history."""

_SETTING = re.compile(r"^[^=]*?\.(?P<option>[^.=]+)=(?P<value>.*)$")


def main(arguments: Sequence[str]) -> int:
    """Build; return the exit status."""
    options, further = _parser().parse_known_args(arguments)
    tag = options.tag or _version()
    image = f"{options.name}:{tag}"
    engine = options.engine or _working_engine()
    values = {"VERSION": tag, "REVISION": _revision(), "BASE_IMAGE": options.base}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *_ENGINES[engine],
            *(f"--build-arg={name}={value}" for name, value in values.items() if value),
            # Without a value: it may hold a password, and the engine finds it in the environment.
            *(f"--build-arg={name}" for name in _PROXIES if name in os.environ),  # noqa: TID251 - a program
            *(f"--secret=id={path.name},src={path}" for path in _secrets(Path(folder), os.environ)),  # noqa: TID251
            *further,
        ]
        command += [f"--file={ROOT / options.file}", f"--tag={image}", str(ROOT)]
        status = subprocess.run(command, check=False).returncode  # noqa: S603 - the builder chosen above
    if status == 0:
        print(f"{image} built with {engine}: {_output([engine, 'images', '--format', '{{.Size}}', image])}")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--name", required=True, help="name of the image, without its tag")
    parser.add_argument("--tag", default="", help="tag; the version of pyproject.toml when left out")
    parser.add_argument("--file", default="Dockerfile.server", help="the Dockerfile")
    parser.add_argument("--engine", default="", choices=["", *_ENGINES], help="the first that works when left out")
    parser.add_argument("--base", default="", help="base image; the Dockerfile's own when left out")
    return parser


def _working_engine() -> str:
    """Return the first engine that is installed and answers."""
    for engine, questions in _ASKED.items():
        if shutil.which(engine) and all(_succeeds([engine, *question]) for question in questions):
            return engine
    sys.exit("no engine works here: install podman or buildah, or docker with buildx and its daemon running")


def _succeeds(command: Sequence[str]) -> bool:
    return _run(command).returncode == 0


def _output(command: Sequence[str]) -> str:
    """Return what a program prints, "" when it fails or is not there."""
    done = _run(command) if shutil.which(command[0]) else None
    return done.stdout.strip() if done and done.returncode == 0 else ""


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_ANSWER_SECONDS)  # noqa: S603 - names of the house


def _secrets(folder: Path, environment: Mapping[str, str]) -> list[Path]:
    """Write the secrets `pip` and `certificates` into ``folder``, as far as this machine has any."""
    settings = _pip_settings()
    lines = [f"{option} = {value}" for option, value in settings.items() if option in _PIP_OPTIONS]
    usual = environment.get("REQUESTS_CA_BUNDLE") or environment.get("SSL_CERT_FILE", "")
    certificates = Path(settings.get("cert", usual))
    secrets: list[Path] = []
    if certificates.is_file():
        secrets.append(Path(shutil.copyfile(certificates, folder / "certificates")))
        lines.append("cert = /run/secrets/certificates")
    secrets.append(folder / "pip")
    secrets[-1].write_text("\n".join(["[global]", *lines, ""]))
    return secrets


def _pip_settings() -> dict[str, str]:
    """Return pip's options here, from its files and the environment (which comes last and wins)."""
    listed = _output([sys.executable, "-m", "pip", "config", "list"])
    found = [match for match in map(_SETTING.match, listed.splitlines()) if match]
    found.sort(key=lambda match: match.string.startswith(":env:"))
    return {match["option"]: str(ast.literal_eval(match["value"])).replace("\n", " ") for match in found}


def _version() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def _revision() -> str:
    """Return the commit, "" outside of a checkout."""
    return _output(["git", "-C", str(ROOT), "rev-parse", "HEAD"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
