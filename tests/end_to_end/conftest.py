"""What the end-to-end suites share: clients that are closed in time, a server for abuse, and somebody else on it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import openai
import pytest

from server_process import ServerProcess, start_server, wait_until

Connect = Callable[..., openai.OpenAI]

_BODY_SECONDS = 2.0
"""A busy machine may delay an honest client by a second."""

_CATALOG = [
    {
        "publisher": "imagegen",
        "family": "shapes",
        "version": "1",
        "id": "imagegen/shapes",
        "aliases": ["shapes"],
        "source": "builtin://shapes",
        "inference": {
            "steps": 1,
            "maxSteps": 3,
            "guidanceScale": 3.0,
            "maxGuidanceScale": 15.0,
            "size": "64x64",
            "maxPixels": 8192,
            "quality": {"low": 1, "medium": 1, "high": 2},
        },
    }
]
"""The embedded model with limits so low that whatever is valid by chance takes milliseconds."""


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a function that makes an SDK client of a server; it tries once unless told ``max_retries``."""
    with ExitStack() as clients:

        def client(server: ServerProcess, max_retries: int = 0) -> openai.OpenAI:
            return clients.enter_context(server.client(max_retries))

        yield client


@pytest.fixture(scope="session")
def body_seconds() -> float:
    """Return how long the abused server waits for a body."""
    return _BODY_SECONDS


@pytest.fixture(scope="session")
def abused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server that may be treated badly; it logs all that it can."""
    catalog = tmp_path_factory.mktemp("catalog") / "models.json"
    catalog.write_text(json.dumps(_CATALOG))
    flags = ["--max-images", "2", "--body-timeout", str(_BODY_SECONDS), "--log-level", "debug"]
    with start_server("--catalog", str(catalog), *flags) as running:
        running.wait_ready()
        yield running


class Bystander:
    """Somebody else's client: makes one and the same picture over and over while a server is abused."""

    def __init__(self, server: ServerProcess) -> None:
        self.pictures: list[str] = []
        self.failures: list[str] = []
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for_more(self, count: int = 3) -> None:
        """Wait until ``count`` more pictures are there."""
        enough = len(self.pictures) + count
        wait_until(lambda: len(self.pictures) >= enough or self.failures, 60, "the bystander's pictures")

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        body = {"prompt": "a red circle on a blue background", "seed": 1, "size": "64x64"}
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self._over.is_set() and not self.failures:
                try:
                    answer = client.post("/v1/images/generations", json=body).raise_for_status()
                    self.pictures.append(answer.json()["data"][0]["b64_json"])
                except (httpx.HTTPError, ValueError, LookupError) as error:
                    self.failures.append(repr(error))


@pytest.fixture(scope="module")
def bystander(abused: ServerProcess) -> Iterator[Bystander]:
    """Return somebody who uses the abused server all the while."""
    somebody = Bystander(abused)
    yield somebody
    somebody.stop()
