"""Asks a Hub: what a commit holds, and for the bytes of its files. The protocol, the token are huggingface_hub's.

Its own downloads are not used. Since version 2 they write to a file of a random name and remove it when they fail: a
killed download of 7 GB begins again from nothing. They compare the size and never the checksum, and they cannot be
cancelled within a file.

Xet, its transfer in deduplicated chunks, is not used either: what the Hub keeps there it also sends as plain HTTP
(files up to 50 GB, far above any here). Plain HTTP goes on where it stopped, goes through any proxy, keeps no second
copy of the chunks on the disk, and tells of each byte. What that costs is speed on lines above about 1 Gbit/s.

Importing this file imports huggingface_hub, which takes a third of a second: only worker threads do.
"""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage] - that of whichever HTTP library huggingface_hub is built on
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import (
    build_hf_headers,  # pyright: ignore[reportUnknownVariableType] - one of its parameters is a bare dict
)
from huggingface_hub.utils import logging as hub_logging

from imagegen_contract.edited_text import TextError, decode, read_file
from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import SourceError
from imagegen_server.sources.hub_cache import CHECKSUM, COMMIT, HubFile, Listing
from imagegen_server.sources.hub_errors import WITH_TOKEN, Asked, HubTrouble, Refusal, no_hub, refused, unreachable

_LONGEST_BACKOFF = 8.0


class HubLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How patient to be: tries without progress, seconds of the first pause (then doubled), and of the longest.

    ``read_timeout`` is how long nothing may come (seconds); None is what HF_HUB_DOWNLOAD_TIMEOUT says, 10 s.
    """

    tries: int = 5
    first_pause: float = 1.0
    longest_pause: float = 60.0
    read_timeout: float | None = None


class Patience:
    """Waits between tries; ``pause`` sleeps so many seconds and may raise."""

    def __init__(self, limits: HubLimits, pause: Callable[[float], None]) -> None:
        self._limits = limits
        self._pause = pause
        self._tries = 0

    def wait(self, trouble: HubTrouble, *, progressed: bool = False) -> None:
        """Wait as long as makes sense after ``trouble``; raise it when it has lasted too long, or will."""
        self._tries = 1 if progressed else self._tries + 1
        backoff = min(self._limits.first_pause * 2 ** (self._tries - 1), _LONGEST_BACKOFF)
        seconds = backoff if trouble.retry_after is None else trouble.retry_after
        if self._tries >= self._limits.tries or seconds > self._limits.longest_pause:
            raise trouble
        self._pause(seconds)


class HubClient:
    """One Hub: ``endpoint``, or what huggingface_hub's own variables say. Any thread may use it."""

    def __init__(self, endpoint: str, token_file: str, limits: HubLimits) -> None:
        _silence()
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.limits = limits
        self._token_file = token_file
        self._read_timeout = limits.read_timeout or float(constants.HF_HUB_DOWNLOAD_TIMEOUT)

    @property
    def offline(self) -> bool:
        """Whether huggingface_hub's own variables forbid to ask the Hub."""
        return constants.is_offline_mode()

    @property
    def cache(self) -> Path:
        """The cache that huggingface_hub's own variables name."""
        return Path(constants.HF_HUB_CACHE)

    def listing(self, repository: str, revision: str) -> Listing:
        """Return what a branch, tag or commit holds; raise SourceError, HubTrouble where that may pass."""
        headers = self._headers()
        asked = self._asked(headers, repository, revision)
        api = HfApi(endpoint=self.endpoint, token=False, headers=headers)
        with self._errors(asked):
            try:
                info = api.model_info(repository, revision=revision, timeout=self._read_timeout, files_metadata=True)
                return _listing(info)
            except HFValidationError:
                raise SourceError(f"{asked} is no name of a repository: it is owner/name") from None
            except (ValueError, TypeError, KeyError, AttributeError):  # as the library reads answers of something else
                raise no_hub(asked) from None

    @contextmanager
    def body(self, repository: str, commit: str, path: str, start: int) -> Generator[tuple[int, Iterator[bytes]]]:
        """Yield (position of the first byte, chunks) of a file; the position is 0 where the Hub sends all of it.

        Raises SourceError, HubTrouble where that may pass; also while the chunks are read.
        """
        headers = {**self._headers(), "accept-encoding": "identity"}
        asked = self._asked(headers, repository, commit, path)
        if start:
            headers["range"] = f"bytes={start}-"
        url = hf_hub_url(repository, path, revision=commit, endpoint=self.endpoint)
        with (
            self._errors(asked),
            get_session().stream("GET", url, headers=headers, timeout=self._read_timeout) as response,
        ):
            if not response.is_success:
                raise refused(asked, self._refusal(response))
            resumed = start and response.headers.get("content-range", "").startswith(f"bytes {start}-")
            yield (start if resumed else 0), response.iter_bytes()

    def _headers(self) -> dict[str, str]:
        """Return the headers of all requests; raise SourceError for a token that cannot be one."""
        token = self._token_of_file()
        headers: dict[str, str] = build_hf_headers(token=token, library_name="imagegen")
        sent = headers.get("authorization", "")
        # The HTTP library would show the whole value in its own error.
        if not (sent.isascii() and sent.isprintable()):
            raise SourceError(
                f"the Hub token holds characters that no HTTP header may hold; {WITH_TOKEN}", LoadFailure.ACCESS_DENIED
            )
        return headers

    def _token_of_file(self) -> str | None:
        """Return the token of the setting, read each time since secrets change; None leaves it to huggingface_hub."""
        if not self._token_file:
            return None
        try:
            token = decode(read_file(Path(self._token_file))).strip()
        except TextError as error:
            raise SourceError(f"hub_token_file {self._token_file}: {error}", LoadFailure.ACCESS_DENIED) from None
        if not token:
            raise SourceError(f"hub_token_file {self._token_file} is empty", LoadFailure.ACCESS_DENIED)
        return token

    def _asked(self, headers: dict[str, str], repository: str, revision: str, path: str = "") -> Asked:
        has_token = "authorization" in headers
        return Asked(endpoint=self.endpoint, repository=repository, revision=revision, file=path, has_token=has_token)

    @contextmanager
    def _errors(self, asked: Asked) -> Generator[None]:
        try:
            yield
        except HfHubHTTPError as error:
            raise refused(asked, self._refusal(error.response)) from None
        except OfflineModeIsEnabled:
            raise SourceError(f"{asked}: HF_HUB_OFFLINE forbids it", LoadFailure.WEIGHTS_NOT_CACHED) from None
        except HTTPError as error:
            raise unreachable(asked, error, self._read_timeout) from None

    def _refusal(self, response: Any) -> Refusal:
        """Return what an error answer says, without the token should it repeat that."""
        headers = response.headers
        token = response.request.headers.get("authorization", "").removeprefix("Bearer ")
        words = headers.get("x-error-message", "")
        retry_after = headers.get("retry-after", "").strip()
        return Refusal(
            status=response.status_code,
            code=headers.get("x-error-code", ""),
            words=words.replace(token, "***") if token else words,
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
            from_storage=response.url.host != urlsplit(self.endpoint).hostname,
        )


def _silence() -> None:
    """Leave progress and words to us: their lines would show the signed addresses of the storage."""
    hub_logging.set_verbosity_error()
    for name in ("httpx2", "httpcore2", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)
    constants.HF_HUB_DISABLE_TELEMETRY = True  # it would tell the Hub what else runs here, and ask it one thing more


def _listing(info: Any) -> Listing:
    """Return what a commit holds; raise ValueError where the answer is nothing to rely on."""
    if not COMMIT.fullmatch(info.sha or ""):
        raise ValueError("an answer without a commit")
    files = [_file(sibling) for sibling in info.siblings or ()]
    return Listing(info.sha, {file.path: file for file in files})


def _file(sibling: Any) -> HubFile:
    """Return a file as the Hub announces it; raise ValueError."""
    size, checksum = (sibling.lfs.size, sibling.lfs.sha256) if sibling.lfs else (sibling.size, sibling.blob_id)
    path = str(sibling.rfilename)
    # The path becomes one on this machine: it must stay below the snapshot.
    if any(part in {"", ".", ".."} for part in path.split("/")) or "\\" in path or "\0" in path:
        raise ValueError("a path that leads elsewhere")
    if size is None or checksum is None:
        return HubFile(path, None, "")
    if not isinstance(size, int) or size < 0 or not CHECKSUM.fullmatch(str(checksum)):
        raise ValueError("no size, or no checksum")
    return HubFile(path, size, str(checksum))
