"""``hf://owner/name``: a repository of the Hugging Face Hub; ``hf://owner/name/FILE.safetensors``: one file of it.

A branch or tag is resolved to its commit once, and what is loaded is the snapshot of that commit. What is whole in
the cache needs no Hub: not offline, not with a commit as revision, and not while the Hub cannot be reached.
"""

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress
from imagegen_server.sources import Report, SourceError, Wanted, Weights
from imagegen_server.sources.checkpoints import config_folder

if TYPE_CHECKING:
    from imagegen_server.sources.hub_client import HubClient, HubLimits
    from imagegen_server.sources.hub_fetch import Part, Snapshot

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")


class HubSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the Hub and its cache are; "" and False leave it to huggingface_hub's own variables.

    ``bar`` shows a progress bar on standard error.
    """

    endpoint: str = ""
    cache: str = ""
    token_file: str = ""
    offline: bool = False
    bar: bool = False


class HubSource:
    """The Hub. Any thread; several may fetch the same model, and then it is downloaded once."""

    def __init__(self, settings: HubSettings | None = None, limits: "HubLimits | None" = None) -> None:
        self._settings = settings or HubSettings()
        self._limits = limits
        self._lock = threading.Lock()  # guards the making of the client
        self._made: HubClient | None = None

    def fetch(self, wanted: Wanted, report: Report) -> Weights:
        """Return the weights, downloaded where the cache lacks them; raise SourceError when they cannot be had."""
        from imagegen_server.sources.hub_fetch import Part  # noqa: PLC0415 - imports huggingface_hub

        repository, file = split_reference(wanted.reference)
        part = Part(file=file, half=wanted.half, safety_checker=wanted.safety_checker)
        found = self._fetch(repository, wanted.revision, part, report)
        if not file:
            return Weights(path=found.folder, variant=found.variant, revision=found.commit)
        checkpoint = found.folder / file
        if found.of_pipeline and not wanted.config:
            # A repository that holds the model in both forms knows its configuration better than its family does.
            config = self.fetch_config(repository, found.commit)
        else:
            config = config_folder(checkpoint, wanted, self.fetch_config)
        return Weights(path=checkpoint, revision=found.commit, config=config)

    def fetch_config(self, reference: str, revision: str) -> Path:
        """Return a folder with the configuration and the tokenizers of a pipeline's repository, without weights.

        Raises SourceError when they cannot be had.
        """
        from imagegen_server.sources.hub_fetch import Part  # noqa: PLC0415 - imports huggingface_hub

        repository, file = split_reference(reference)
        if file:
            raise SourceError(f"hf://{reference}: a configuration is of a repository: hf://owner/name")
        return self._fetch(repository, revision, Part(weights=False), _unheard).folder

    def _fetch(self, repository: str, revision: str, part: "Part", report: Report) -> "Snapshot":
        from imagegen_server.sources.hub_fetch import Fetch  # noqa: PLC0415 - imports huggingface_hub

        if revision and not _REVISION.fullmatch(revision):
            raise SourceError(f"hf://{repository}: {revision!r} is no branch, tag or commit")
        client, settings = self._client(), self._settings
        cache = Path(settings.cache).expanduser() if settings.cache else client.cache
        bar = repository if settings.bar else ""
        fetch = Fetch(client, cache, repository, revision or "main", part)
        return fetch.run(report, bar, offline=settings.offline or client.offline)

    def _client(self) -> "HubClient":
        from imagegen_server.sources.hub_client import HubClient, HubLimits  # noqa: PLC0415 - imports huggingface_hub

        with self._lock:
            if self._made is None:
                limits = self._limits or HubLimits()
                self._made = HubClient(self._settings.endpoint, self._settings.token_file, limits)
            return self._made


def split_reference(reference: str) -> tuple[str, str]:
    """Return (owner/name, file or "") of what follows ``hf://``; raise SourceError when it names no model."""
    owner, name, file = [*reference.strip("/").split("/", 2), "", ""][:3]
    below = all(part not in {"", ".", ".."} for part in file.split("/")) if file else True
    if not (_SEGMENT.fullmatch(owner) and _SEGMENT.fullmatch(name) and below):
        raise SourceError(
            f"hf://{reference} names no model; allowed: hf://owner/name, hf://owner/name/FILE.safetensors"
        )
    if file and not file.endswith(".safetensors"):
        raise SourceError(
            f"hf://{reference}: {file} is no .safetensors file; other formats can run code and are never opened",
            LoadFailure.UNSAFE_WEIGHTS,
        )
    return f"{owner}/{name}", file


def _unheard(progress: DownloadProgress) -> None:
    """Take no note: a configuration is small."""
