"""Clients that offer HTTP/2 with their first request: curl, and the JDK's, as Spring and LangChain4j use it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Show
from router_process import endpoints, start_router
from server_process import Server, wait_until

SECONDS = 120.0
"""The JDK compiles the program first; a busy machine may take its time."""

BODY = {"prompt": "a red circle", "model": "imagegen/shapes", "size": "64x64", "num_inference_steps": 1}

pytestmark = [pytest.mark.slow, pytest.mark.acceptance]


@pytest.fixture(scope="module")
def both(server: Server) -> Iterator[list[str]]:
    """Return the addresses of a server and of a router before it."""
    with start_router(*endpoints([server])) as router:
        wait_until(lambda: router.serving() == 1, 20, "the router to know the server")
        yield [server.url, router.url]


def said(*command: str | Path) -> str:
    """Run a program and return what it printed; fail when it is not content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_client_of_the_jdk_makes_pictures(both: list[str], show: Show) -> None:
    java = shutil.which("java")
    if java is None or shutil.which("javac") is None:
        pytest.skip("needs a JDK, version 11 or later, as of Debian's package default-jdk-headless")
    answers = said(java, Path(__file__).parent / "MakePicture.java", *both).splitlines()
    assert answers == ["HTTP_1_1 200 a picture"] * 4
    show("14.3 the JDK's HTTP client, its defaults", "2 pictures from a server, 2 from a router")


def test_curl_with_http2_makes_pictures(both: list[str], show: Show) -> None:
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in said(curl, "--version"):
        pytest.skip("needs curl with HTTP/2")
    for url in both:
        options = [
            "--silent",
            "--show-error",
            "--http2",
            "--noproxy",
            "*",
            "--header",
            "content-type: application/json",
        ]
        told = ["--write-out", "\n%{http_version} %{http_code} %{num_connects}", "--data", json.dumps(BODY)]
        body, _, outcome = said(curl, *options, *told, f"{url}/v1/images/generations").rpartition("\n")
        assert (outcome, list(json.loads(body)["data"][0])) == ("1.1 200 1", ["b64_json", "seed"])
    show("14.3 curl --http2", "a picture from a server, a picture from a router")
