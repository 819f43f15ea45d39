"""API keys: who may ask, how often, and how much at once.

A key is ``sk-imagegen-ID-SECRET``. The file holds id, name and the SHA-256 of the whole key: 32 random bytes need no
slow hash. The file is looked at again and again; one that cannot be read leaves the keys as they were.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterable
from pathlib import Path

from imagegen_contract.api_keys import ApiKey, KeysError, key_id, load_keys
from imagegen_contract.errors import ErrorCode
from imagegen_web.errors import ApiError
from imagegen_web.followed_file import LOOK_SECONDS, FollowedFile

_LOG = logging.getLogger("imagegen.keys")

_BURST_SECONDS = 10.0
"""A key may use up so much of its rate at once."""

_CONCURRENCY_RETRY_SECONDS = 1.0


class Keys:
    """The keys of a file. Raises KeysError when it cannot be read at the start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = FollowedFile(path)
        self._clients: dict[str, Client] = {key.id: Client(key) for key in load_keys(path)}

    def client(self, authorization: str | None) -> "Client":
        """Return whose key this is. Raise ApiError ``invalid_api_key``."""
        scheme, _, presented = (authorization or "").partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            raise ApiError(ErrorCode.INVALID_API_KEY, "an API key is needed, as the header Authorization: Bearer KEY")
        client = self._clients.get(key_id(presented))
        digest = hashlib.sha256(presented.encode()).hexdigest()
        if client is None or not hmac.compare_digest(digest, client.key.sha256):
            raise ApiError(ErrorCode.INVALID_API_KEY, "this API key is not known here, or was revoked")
        return client

    async def follow(self) -> None:
        """Read the file again when it changes, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Take the file in if it was edited; a bad edit leaves the keys as they were."""
        if not self._file.edited():
            return
        try:
            self._take(load_keys(self._path))
        except KeysError as error:
            _LOG.error("the file of keys cannot be read; the keys are as before", extra={"cause": str(error)})

    def _take(self, keys: Iterable[ApiKey]) -> None:
        # Who is known already keeps what it has used of its limits.
        before = self._clients
        self._clients = {}
        for key in keys:
            client = before.get(key.id) or Client(key)
            client.key = key
            self._clients[key.id] = client
        _LOG.info("keys read", extra={"keys": len(self._clients)})


class Client:
    """One key and what it has used of its limits."""

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self.active = 0
        """Requests that wait or run."""
        self._tokens: float | None = None
        self._counted_at = 0.0

    def enter(self, now: float) -> None:
        """Count a request. Raise ApiError ``rate_limit_exceeded``; ``leave`` comes when it is over."""
        key = self.key
        if key.concurrency is not None and self.active >= key.concurrency:
            raise ApiError(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                f"this API key may have {key.concurrency} requests at once",
                retry_after=_CONCURRENCY_RETRY_SECONDS,
            )
        if key.requests_per_minute is not None:
            self._spend(key.requests_per_minute, now)
        self.active += 1

    def leave(self) -> None:
        """Count it off."""
        self.active -= 1

    def _spend(self, rate: float, now: float) -> None:
        burst = max(1.0, rate * _BURST_SECONDS / 60)
        tokens = burst if self._tokens is None else self._tokens + (now - self._counted_at) * rate / 60
        self._tokens, self._counted_at = min(burst, tokens), now
        if self._tokens < 1:
            raise ApiError(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                f"this API key may send {rate:g} requests a minute",
                retry_after=(1 - self._tokens) * 60 / rate,
            )
        self._tokens -= 1
