"""One fetch of one repository: from the cache where that holds all of it, else from the Hub."""

import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import Report, SourceError
from imagegen_server.sources.hub_cache import COMMIT, HubFile, Listing, RepositoryCache
from imagegen_server.sources.hub_client import HubClient, Patience
from imagegen_server.sources.hub_errors import HubTrouble
from imagegen_server.sources.hub_files import INDEX, Choice, choose, configuration, no_pipeline, shown, weights_in
from imagegen_server.sources.hub_progress import NOTHING_KNOWN, TELL_SECONDS, Meter
from imagegen_server.sources.hub_transfer import Stop, Transfer

_LOG = logging.getLogger(__name__)

_FILES_AT_ONCE = 4
"""More would only share the line; fewer leave it idle while one file is checked."""
_MARGIN_BYTES = 64 * 2**20
"""Room that a download leaves, for logs and for what else is on the disk; a small one leaves as much as it takes."""
_TRIES_TO_ASK = 3
"""Before a download has begun nothing is lost by telling the cause soon: the model store tries again."""
_NO_HUB = {LoadFailure.HUB_UNREACHABLE, LoadFailure.HUB_ERROR}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a repository: one ``file``, else its pipeline, without ``weights`` only the configuration."""

    file: str = ""
    weights: bool = True
    half: bool = True
    safety_checker: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that holds all that is wanted of a commit. ``certain``: by what the Hub said that there is.

    ``of_pipeline``: the repository holds a pipeline, whatever was wanted of it.
    """

    folder: Path
    commit: str
    variant: str
    of_pipeline: bool
    certain: bool = True


class Fetch:
    """Brings ``part`` of a repository at ``revision`` into the cache below ``root``. One thread, once."""

    def __init__(self, client: HubClient, root: Path, repository: str, revision: str, part: Part) -> None:
        self._client = client
        self._cache = RepositoryCache(root, repository)
        self._repository = repository
        self._revision = revision
        self._part = part

    def run(self, report: Report, bar: str, *, offline: bool) -> Snapshot:
        """Return the snapshot; raise SourceError. What ``report`` raises ends the fetch and passes."""
        cached: Snapshot | None = None
        try:
            cached = self._from_cache(report)
        except SourceError:
            if offline:
                raise
        if cached and (offline or (cached.certain and COMMIT.fullmatch(self._revision))):
            return cached
        try:
            return self._from_hub(cached, report, bar)
        except SourceError as error:
            if cached is None or error.reason not in _NO_HUB:
                raise
            facts = {"repository": self._repository, "commit": cached.commit, "cause": str(error)}
            _LOG.warning("the Hub cannot be asked; what the cache holds of the revision is used", extra=facts)
            return cached

    def _from_cache(self, report: Report) -> Snapshot:
        commit = self._cache.commit_of(self._revision)
        listing = self._cache.listing(commit) if commit else Listing("", {}, certain=False)
        here = {path for path, file in listing.files.items() if self._cache.find(file, commit)}
        first = self._part.file or INDEX
        if first not in here:
            raise self._not_cached([first])
        self._check(listing, (first,), report)
        choice = self._cached_choice(listing, here)
        self._check(listing, choice.files, report)
        return self._snapshot(listing, choice)

    def _cached_choice(self, listing: Listing, here: Collection[str]) -> Choice:
        """Return files that are all there: the ones that a download would take, else the other variant."""
        try:
            choice = self._choose(listing.files, listing.commit)
        except SourceError as error:
            if listing.certain or error.reason != LoadFailure.WEIGHTS_NOT_FOUND:
                raise
            raise SourceError(f"the cache does not hold all of {error}", LoadFailure.WEIGHTS_NOT_CACHED) from None
        lacking = sorted(set(choice.files) - set(here))
        if not lacking:
            return choice
        with suppress(SourceError):
            other = self._choose(set(listing.files) - (weights_in(listing.files) - set(here)), listing.commit)
            if set(other.files) <= set(here):
                return other
        raise self._not_cached(lacking)

    def _not_cached(self, lacking: Sequence[str]) -> SourceError:
        return SourceError(
            f"hf://{self._repository} at revision {self._revision} is not in the cache {self._cache.root} as a whole, "
            f"and the Hub is not asked (offline); it lacks {shown(lacking)}; fetch it once with a connection",
            LoadFailure.WEIGHTS_NOT_CACHED,
        )

    def _from_hub(self, cached: Snapshot | None, report: Report, bar: str) -> Snapshot:
        listing = self._ask(report, 1 if cached else min(_TRIES_TO_ASK, self._client.limits.tries))
        if cached and cached.certain and cached.commit == listing.commit:
            return cached
        self._cache.keep(listing)
        if not self._part.file and INDEX in listing.files:
            self._bring(listing, (INDEX,), lambda _: report(NOTHING_KNOWN), "")
        choice = self._choose(listing.files, listing.commit)
        self._bring(listing, choice.files, report, bar)
        self._cache.remember(self._revision, listing.commit)
        return self._snapshot(listing, choice)

    def _ask(self, report: Report, tries: int) -> Listing:
        """Return what the Hub says the revision holds. With few tries, as there is something to go on with."""

        def pause(seconds: float) -> None:
            over = time.monotonic() + seconds
            while (left := over - time.monotonic()) > 0:
                report(NOTHING_KNOWN)
                time.sleep(min(left, TELL_SECONDS))

        patience = Patience(msgspec.structs.replace(self._client.limits, tries=tries), pause)
        while True:
            try:
                return self._client.listing(self._repository, self._revision)
            except HubTrouble as trouble:
                patience.wait(trouble)

    def _choose(self, files: Collection[str], commit: str) -> Choice:
        """Return which of ``files`` are wanted; the index must be in the snapshot. Raise SourceError."""
        part = self._part
        try:
            if part.file:
                return _single(files, part.file)
            index = self._index(files, commit)
            if part.weights:
                return choose(files, index, half=part.half, safety_checker=part.safety_checker)
            return Choice(configuration(files, index, safety_checker=part.safety_checker))
        except SourceError as error:
            raise SourceError(f"hf://{self._repository}: {error}", error.reason) from None

    def _index(self, files: Collection[str], commit: str) -> dict[str, Any]:
        if INDEX not in files:
            raise SourceError(no_pipeline(files))
        try:
            index = json.loads((self._cache.snapshot(commit) / INDEX).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise SourceError(f"{INDEX} cannot be read: {error}", LoadFailure.WEIGHTS_INVALID) from None
        if not isinstance(index, dict):
            raise SourceError(f"{INDEX} is no JSON object", LoadFailure.WEIGHTS_INVALID)
        return index  # pyright: ignore[reportUnknownVariableType] - the keys of a JSON object are text

    def _bring(self, listing: Listing, paths: Collection[str], report: Report, bar: str) -> None:
        """Have all ``paths`` in the snapshot; raise SourceError, DISK_FULL before the first byte."""
        stop = Stop()
        transfers = [self._transfer(listing.commit, listing.files[path], stop) for path in paths]
        lacking = {transfer.file.checksum: transfer.size - transfer.done for transfer in transfers}
        if missing := sum(lacking.values()):
            self._cache.prepare(missing, min(missing, _MARGIN_BYTES))
        meter = Meter(transfers, report, bar)
        try:
            _side_by_side([partial(transfer.bring, self._client) for transfer in transfers], meter.tell, stop)
            meter.finish()
        finally:
            meter.close()

    def _check(self, listing: Listing, paths: Collection[str], report: Report) -> None:
        """Raise SourceError when one of ``paths`` is corrupt in the cache; it is removed then."""
        stop = Stop()
        transfers = [self._transfer(listing.commit, listing.files[path], stop) for path in paths]
        works = [transfer.keep_only_right for transfer in transfers]
        _side_by_side(works, lambda: report(NOTHING_KNOWN), stop)

    def _transfer(self, commit: str, file: HubFile, stop: Stop) -> Transfer:
        return Transfer(self._cache, self._repository, commit, file, stop)

    def _snapshot(self, listing: Listing, choice: Choice) -> Snapshot:
        folder = self._cache.snapshot(listing.commit)
        return Snapshot(
            folder=folder,
            commit=listing.commit,
            variant=choice.variant,
            of_pipeline=INDEX in listing.files,
            certain=listing.certain,
        )


def _single(files: Collection[str], file: str) -> Choice:
    if file not in files:
        others = sorted(name for name in weights_in(files) if "/" not in name)
        raise SourceError(f"there is no file {file}; .safetensors files beside it: {shown(others)}")
    return Choice((file,))


def _side_by_side(works: Sequence[Callable[[], None]], tell: Callable[[], None], stop: Stop) -> None:
    """Do all ``works`` in threads and call ``tell`` meanwhile; what any of them raises stops the others and passes."""
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="hub") as pool:
        futures = [pool.submit(work) for work in works]
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, TELL_SECONDS, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                if pending:
                    tell()
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise
