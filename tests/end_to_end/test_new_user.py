"""Point 1: what a new user does, with the README in hand."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from cluster.guarded import of_this_process
from conftest import Show
from server_process import wait_until
from shapes_oracle import Scene, classify

README_URL = "http://127.0.0.1:8000"
EXPECTED = {
    "circle.png": Scene("blue", "red", "circle"),
    "star.png": Scene("black", "yellow", "star"),
    "triangle.png": Scene("white", "green", "triangle"),
}


class MakeServe:
    """`make serve`, started as a person would."""

    def __init__(self, root: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.started = time.monotonic()
        # Its own session: Ctrl-C on a terminal reaches make and the server, and so does a signal to the group.
        self.process = subprocess.Popen(
            ["make", "serve", f"PORT={port}"],
            cwd=root,
            env=of_this_process().environment,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def answers(self, path: str) -> bool:
        """Whether a path answers 200."""
        try:
            return httpx.get(self.url + path, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def seconds_until(self, path: str) -> float:
        """Wait until a path answers 200 and return the seconds since the start."""
        wait_until(lambda: self.answers(path), 120, f"{path} to answer", every=0.02)
        return time.monotonic() - self.started

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def make_serve(repository: Path) -> Iterator[MakeServe]:
    """Return a running `make serve`."""
    running = MakeServe(repository)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGTERM)
            running.process.wait(30)
        if running.process.stderr is not None:
            running.process.stderr.close()


def code_blocks(readme: str, language: str) -> list[str]:
    """Return the README's blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


def examples(root: Path, url: str) -> list[list[str]]:
    """Return the README's examples as commands, pointed at ``url``."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    readme = readme.replace(README_URL, url).replace(".venv/bin/", f"{root}/.venv/bin/")
    shell = [block for block in code_blocks(readme, "sh") if "curl" in block or "imagegen generate" in block]
    commands = [["bash", "-euo", "pipefail", "-c", block] for block in shell]
    commands += [[str(root / ".venv/bin/python"), "-c", block] for block in code_blocks(readme, "python")]
    assert len(commands) == len(EXPECTED), "the README's examples are curl, the command line and the SDK"
    return commands


@pytest.mark.acceptance
def test_make_serve_and_the_readme_examples_give_the_right_pictures(
    make_serve: MakeServe, repository: Path, tmp_path: Path, show: Show
) -> None:
    listening = make_serve.seconds_until("/healthz")
    ready = make_serve.seconds_until("/readyz")
    environment = {**os.environ, "IMAGEGEN_URL": make_serve.url}  # noqa: TID251 - children need their parent's
    for command in examples(repository, make_serve.url):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120, capture_output=True, env=environment)
    seen = {name: classify(Image.open(tmp_path / name)) for name in EXPECTED}
    wrong = [name for name, scene in EXPECTED.items() if not seen[name].matches(scene)]
    assert not wrong, f"{wrong}: {seen}"
    assert make_serve.interrupt() in {0, 2, -2}  # make itself reports the interrupt
    show("1 make serve, README's curl, SDK, CLI", f"3 of 3 right; listening {listening:.1f} s, ready {ready:.1f} s")


@pytest.mark.acceptance
def test_the_documentation_page_needs_no_internet(make_serve: MakeServe, show: Show) -> None:
    make_serve.seconds_until("/healthz")
    page = httpx.get(f"{make_serve.url}/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    answers = {link: httpx.get(f"{make_serve.url}/{link}").status_code for link in links}
    assert links
    assert not [link for link in links if "//" in link]
    assert set(answers.values()) == {200}
    document = json.loads(httpx.get(f"{make_serve.url}/openapi.json").text)
    assert document["openapi"].startswith("3.1")
    show("1 /docs works offline", f"{len(links)} files served by us")
