"""The probe asks the server beside it, on the port that the environment gives, and says why it is not well."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from imagegen_server.probe import main


class Answering(BaseHTTPRequestHandler):
    """Is alive and not ready."""

    def do_GET(self) -> None:
        """Answer a probe."""
        alive = self.path == "/healthz"
        self.send_response(200 if alive else 503)
        self.end_headers()
        self.wfile.write(b"" if alive else b"loading acme/sd")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


@pytest.fixture
def port() -> Iterator[str]:
    """Return the port of a server that is alive and not ready."""
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> str:
    """Return a port where nothing listens."""
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        return str(server.server_port)


def test_it_passes_when_the_server_is_alive_on_any_address(port: str) -> None:
    assert main([], {"IMAGEGEN_SERVER_PORT": port, "IMAGEGEN_SERVER_HOST": "0.0.0.0"}) == 0  # noqa: S104 - as in the image


def test_it_asks_the_management_port_when_there_is_one(port: str, closed_port: str) -> None:
    assert main([], {"IMAGEGEN_SERVER_PORT": closed_port, "IMAGEGEN_SERVER_MANAGEMENT_PORT": port}) == 0


def test_it_fails_with_the_words_of_the_answer(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/readyz"], {"IMAGEGEN_SERVER_PORT": port}) == 1
    assert "/readyz answered 503: loading acme/sd" in capsys.readouterr().err


def test_it_fails_when_nothing_listens(closed_port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {"IMAGEGEN_SERVER_PORT": closed_port}) == 1
    assert f"127.0.0.1 port {closed_port}" in capsys.readouterr().err


def test_it_fails_when_the_settings_are_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {"IMAGEGEN_SERVER_PORT": "many"}) == 1
    assert "IMAGEGEN_SERVER_PORT" in capsys.readouterr().err
