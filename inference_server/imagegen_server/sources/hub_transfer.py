"""Brings one file of a repository into the cache: once, whole, checked, going on where the last try stopped."""

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import FetchCancelled
from imagegen_server.sources.hub_cache import Checksum, HubFile, RepositoryCache
from imagegen_server.sources.hub_client import HubClient, Patience
from imagegen_server.sources.hub_errors import HubTrouble, corrupt, unannounced

_LOG = logging.getLogger(__name__)


class Stop:
    """Ends the threads of a fetch: they look here often, and sleep only here."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """End them."""
        self._event.set()

    def check(self) -> None:
        """Raise FetchCancelled when it is over."""
        if self._event.is_set():
            raise FetchCancelled

    def pause(self, seconds: float) -> None:
        """Sleep, and raise FetchCancelled as soon as it is over."""
        self._event.wait(seconds)
        self.check()


class Transfer:
    """One file of ``commit``. ``done`` is how many bytes of it are there; other threads may read it."""

    def __init__(self, cache: RepositoryCache, repository: str, commit: str, file: HubFile, stop: Stop) -> None:
        self.file = file
        self.done = 0
        self._cache = cache
        self._repository = repository
        self._commit = commit
        self._stop = stop
        self._look()

    @property
    def size(self) -> int:
        """Bytes of the whole file, 0 where nobody has announced them."""
        return self.file.size or 0

    def there(self) -> bool:
        """Return whether the cache holds the file with the right checksum; it is in the snapshot then."""
        place = self._cache.find(self.file, self._commit)
        if place is None:
            return False
        if not self._cache.is_checked(self.file, place):
            if not self._is_right(place):
                _LOG.warning("a file of the cache is corrupt", extra={"file": str(place)})
                return False
            self._cache.mark_checked(self.file, place)
        with self._cache.errors():
            self._cache.link(self.file, self._commit)
        self.done = self.size
        return True

    def keep_only_right(self) -> None:
        """Raise SourceError when the file in the cache is corrupt, and remove it."""
        if not self.there():
            self._cache.remove(self.file, self._commit)
            raise corrupt(self._repository, self.file.path)

    def bring(self, client: HubClient) -> None:
        """Have the file in the snapshot; raise SourceError. Waits while somebody else brings it."""
        if self.file.checksum and self.there():
            return
        if not self.file.checksum:
            with client.body(self._repository, self._commit, self.file.path, 0):
                raise unannounced(self._repository, self.file.path)  # unless the Hub has said that it is gated
        with self._cache.lock(self.file, self._wait):
            if self.there():
                return
            self._cache.remove(self.file, self._commit)
            partial = self._cache.partial(self.file)
            self._download(client, partial)
            self._take_in(partial)

    def _download(self, client: HubClient, partial: Path) -> None:
        patience = Patience(client.limits, self._stop.pause)
        with self._cache.errors(), partial.open("ab") as out:
            while True:
                before = out.tell()
                try:
                    return self._append(client, out)
                except HubTrouble as trouble:
                    patience.wait(trouble, progressed=out.tell() > before)

    def _append(self, client: HubClient, out: BinaryIO) -> None:
        """Append what the file lacks, in one request; raise HubTrouble when that ends too early."""
        self.done = out.tell()
        if self.done == self.size:
            return
        start = self.done if self.done < self.size else 0
        with client.body(self._repository, self._commit, self.file.path, start) as (begin, chunks):
            if begin != self.done:
                out.truncate(begin)
                out.seek(begin)
                self.done = begin
            for chunk in chunks:
                self._stop.check()
                out.write(chunk)
                self.done += len(chunk)
                if self.done > self.size:
                    out.truncate(0)
                    raise corrupt(self._repository, self.file.path)
        out.flush()
        if self.done < self.size:
            ended = f"the connection ended after {self.done} of {self.size} bytes; check the network and its proxies"
            name = f"hf://{self._repository}/{self.file.path}"
            raise HubTrouble(f"{name}: {ended}", LoadFailure.HUB_UNREACHABLE)

    def _take_in(self, partial: Path) -> None:
        """Make a whole download the blob, once it is safe on the disk and its checksum is right."""
        if not self._is_right(partial):
            partial.unlink(missing_ok=True)
            raise corrupt(self._repository, self.file.path)
        blob = self._cache.blob(self.file)
        with self._cache.errors():
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(blob)
            self._cache.mark_checked(self.file, blob)
            self._cache.link(self.file, self._commit)
        self.done = self.size

    def _is_right(self, place: Path) -> bool:
        """Return whether size and checksum are the announced ones."""
        try:
            size = place.stat().st_size
            checksum = Checksum(self.file.checksum, size)
            checksum.read(place, self._stop.check)
        except OSError:  # a disk that cannot read it back
            return False
        return self.file.size in {None, size} and checksum.right

    def _wait(self) -> None:
        """Somebody else brings the file: show how far that is."""
        self._stop.check()
        self._look()

    def _look(self) -> None:
        if self._cache.find(self.file, self._commit) is not None:
            self.done = self.size
        else:
            with suppress(OSError):
                self.done = min(self._cache.partial(self.file).stat().st_size, self.size)
