"""Users of the official SDK that are always there, with its own retries: what they see when something dies."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx2  # the SDK's own
import openai

from router_load import Clients


class Attempts(httpx2.HTTPTransport):
    """Counts what each single request came to, before the SDK tries it again."""

    def __init__(self) -> None:
        super().__init__(retries=0)
        self.seen: Counter[str] = Counter()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request."""
        try:
            answer = super().handle_request(request)
        except httpx2.HTTPError as error:
            self.seen[type(error).__name__] += 1
            raise
        self.seen[str(answer.status_code)] += 1
        return answer


class SdkLoad(Clients):
    """Clients that ask for one picture after the other until they are told to end."""

    def __init__(self, url: str, key: str, fields: Mapping[str, Any], *, clients: int = 4) -> None:
        self.pictures: Counter[str] = Counter()
        """What calls of the SDK came to: ``pictures``, or the name of the error."""
        self.attempts: Counter[str] = Counter()
        """What single requests came to: status codes and errors of connections."""
        self.slowest = 0.0
        """Seconds of the slowest call."""
        self._key, self._fields = key, fields
        self._lock = threading.Lock()
        super().__init__(self._run, [url] * clients)

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return sum(self.pictures.values())

    @property
    def failed(self) -> int:
        """How many calls ended without a picture."""
        return self.calls - self.pictures["pictures"]

    @property
    def retried(self) -> dict[str, int]:
        """What made the SDK try again."""
        return {what: count for what, count in self.attempts.items() if what != "200"}

    def summary(self) -> str:
        """Return what the clients saw, in words."""
        again = ", ".join(f"{count} x {what}" for what, count in sorted(self.retried.items())) or "none"
        return f"{self.calls} pictures, {self.failed} failed, tried again: {again}, slowest {self.slowest:.0f} s"

    def _run(self, url: str) -> None:
        transport = Attempts()
        with httpx2.Client(transport=transport, timeout=120) as http:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key=self._key, http_client=http)
            while not self.over.is_set():
                began = time.monotonic()
                outcome = _picture(client, self._fields)
                with self._lock:
                    self.pictures[outcome] += 1
                    self.slowest = max(self.slowest, time.monotonic() - began)
        with self._lock:
            self.attempts += transport.seen


def _picture(client: openai.OpenAI, fields: Mapping[str, Any]) -> str:
    try:
        reply = client.images.generate(prompt="a red circle on a blue background", **fields)
    except openai.APIError as error:
        return f"{type(error).__name__}: {error}"
    return "pictures" if reply.data and reply.data[0].b64_json else "no pictures"
