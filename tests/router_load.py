"""Clients that are always there, for tests of what happens under load."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import httpx

from server_process import Server


class Clients:
    """Threads that go on, for the time of a ``with``, until they are told to end."""

    def __init__(self, client: Callable[[str], None], urls: Sequence[str]) -> None:
        self.over = threading.Event()
        """Set when a client should come to its end."""
        self._threads = [threading.Thread(target=client, args=(url,)) for url in urls]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let each client come to the end of its request."""
        self.over.set()
        for thread in self._threads:
            thread.join()


class Load(Clients):
    """Clients that send one request after the other, dealt out to the routers, until they are told to end."""

    def __init__(self, routers: Sequence[Server], fields: Mapping[str, Any], *, clients: int) -> None:
        self.outcomes: Counter[str] = Counter()
        """Status codes and errors, by how often they came."""
        self.replies: Counter[str] = Counter()
        """What ``host`` said in replies of pods that name themselves."""
        self.slowest = 0.0
        """Seconds from a request to its answer."""
        self._body = {"prompt": "x", **fields}
        super().__init__(self._run, [routers[number % len(routers)].url for number in range(clients)])

    def total(self) -> int:
        """Return how many requests were answered, or failed."""
        return sum(self.outcomes.values())

    def _run(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not self.over.is_set():
                began = time.monotonic()
                try:
                    answer = client.post("/v1/images/generations", json=self._body)
                    self._note(answer)
                except httpx.HTTPError as error:
                    self.outcomes[repr(error)] += 1
                self.slowest = max(self.slowest, time.monotonic() - began)

    def _note(self, answer: httpx.Response) -> None:
        reply = answer.json()
        whole = answer.status_code != 200 or reply.get("data")
        self.outcomes[str(answer.status_code) if whole else "200 without pictures"] += 1
        if "host" in reply:
            self.replies[reply["host"]] += 1
