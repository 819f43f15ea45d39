"""What the Hugging Face Hub says of a model: a few small files and the metadata, never the weights.

Importing this file imports huggingface_hub, which takes a third of a second: only `models add` does.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import msgspec
from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage] - that of whichever HTTP library huggingface_hub is built on
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)
from huggingface_hub.utils import (
    build_hf_headers,  # pyright: ignore[reportUnknownVariableType] - one of its parameters is a bare dict
    hf_raise_for_status,
)
from huggingface_hub.utils import logging as hub_logging

from imagegen_cli.command import CommandError
from imagegen_cli.hub_facts import HubFacts, Json
from imagegen_cli.hub_reference import HUB, HubReference

_TIMEOUT_SECONDS = 30.0
_INDEX = "model_index.json"
_SCHEDULER = "scheduler/scheduler_config.json"
_UNET = "unet/config.json"


class HubMetadata:
    """Asks one Hub: ``endpoint``, or what huggingface_hub's own variables say. The token is theirs too."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Raise CommandError when the token cannot be one."""
        hub_logging.set_verbosity_error()
        constants.HF_HUB_DISABLE_TELEMETRY = True  # it would tell the Hub what runs here, and ask it one thing more
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._api = HfApi(endpoint=self._endpoint)
        token = get_token()
        # The HTTP library would show the whole value in its own error.
        if token and not (token.isascii() and token.isprintable()):
            raise CommandError("the Hub token holds characters that no HTTP header may hold; see HF_TOKEN")
        self._has_token = token is not None

    def facts(self, wanted: HubReference) -> HubFacts:
        """Return what the Hub says; raise CommandError when there is no such model, or none that can be seen."""
        with self._errors(wanted):
            info = self._api.model_info(wanted.repository, revision=wanted.revision or None, timeout=_TIMEOUT_SECONDS)
            if not info.sha:
                raise ValueError("an answer without a commit")
            reference = HubReference(repository=info.id, file=wanted.file, revision=info.sha)
            files = tuple(sibling.rfilename for sibling in info.siblings or ())
            self._check_present(reference, files, bool(info.gated))
            return HubFacts(
                reference=reference,
                license=_license(info.card_data, info.tags or []),
                gated=bool(info.gated),
                files=files,
                index={} if reference.file else self._json(reference, _INDEX),
                scheduler=self._json(reference, _SCHEDULER) if _SCHEDULER in files else {},
                unet=self._json(reference, _UNET) if _UNET in files and not reference.file else {},
                tensors=self._tensors(reference) if reference.file else {},
            )

    def _check_present(self, reference: HubReference, files: tuple[str, ...], gated: bool) -> None:
        if gated and not self._has_token:
            raise CommandError(self._gated(reference))
        if reference.file and reference.file not in files:
            raise CommandError(f"{reference.repository} has no file {reference.file}{_checkpoints(reference, files)}")
        if not reference.file and _INDEX not in files:
            raise CommandError(
                f"{reference.repository} holds no diffusers pipeline: it has no {_INDEX}"
                f"{_checkpoints(reference, files)}"
            )

    def _json(self, reference: HubReference, file: str) -> Json:
        url = hf_hub_url(reference.repository, file, revision=reference.revision, endpoint=self._endpoint)
        response = get_session().get(url, headers=build_hf_headers(), timeout=_TIMEOUT_SECONDS)
        hf_raise_for_status(response)
        try:
            return msgspec.json.decode(response.content, type=Json)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise CommandError(f"{file} of {reference.repository} is broken: {error}") from None

    def _tensors(self, reference: HubReference) -> Mapping[str, tuple[int, ...]]:
        try:
            header = self._api.parse_safetensors_file_metadata(
                reference.repository, reference.file, revision=reference.revision, timeout=_TIMEOUT_SECONDS
            )
        except SafetensorsParsingError:
            raise CommandError(f"{reference.file} of {reference.repository} is no safetensors file") from None
        return {name: tuple(tensor.shape) for name, tensor in header.tensors.items()}

    @contextmanager
    def _errors(self, wanted: HubReference) -> Generator[None]:
        """Turn what the Hub's library raises into words."""
        try:
            yield
        except HfHubHTTPError as error:
            raise CommandError(self._refused(wanted, error)) from None
        except OfflineModeIsEnabled:
            raise CommandError("the Hub is switched off by HF_HUB_OFFLINE, and its metadata is nowhere else") from None
        except HTTPError as error:
            raise CommandError(
                f"{self._endpoint} cannot be reached: {_first_line(error)}; another Hub is named by --endpoint"
            ) from None
        except (ValueError, TypeError, KeyError, AttributeError):  # as the library reads an answer of something else
            raise CommandError(f"what answers at {self._endpoint} does not speak the Hub's protocol") from None

    def _refused(self, wanted: HubReference, error: HfHubHTTPError) -> str:
        if isinstance(error, GatedRepoError):
            return self._gated(wanted)
        if isinstance(error, RevisionNotFoundError):
            return f"{wanted.repository} has no revision {wanted.revision or 'main'!r}"
        if isinstance(error, DisabledRepoError):
            return f"the Hub has switched {wanted.repository} off"
        if isinstance(error, RepositoryNotFoundError):
            private = "is private to others" if self._has_token else "is private: then set HF_TOKEN"
            return f"{wanted.repository} does not exist at {self._endpoint}, or it {private}"
        return _status_words(error.response.status_code, wanted.repository)

    def _gated(self, wanted: HubReference) -> str:
        rest = "the token that is set has no access yet" if self._has_token else "then set HF_TOKEN to your token"
        return f"{wanted.repository} is gated: accept its terms at {HUB}/{wanted.repository}; {rest}"


def _status_words(status: int, repository: str) -> str:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"the Hub does not take the token for {repository}: set HF_TOKEN to one that may read it"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "the Hub has had too many requests from here: try again in a few minutes, or set HF_TOKEN"
    return f"the Hub answered {status} for {repository}: try again later"


def _license(card: Any, tags: list[str]) -> str:
    """Return the licence: the name that the card gives one that is none of the Hub's, else its identifier."""
    metadata: Json = card.to_dict() if card else {}
    identifier = metadata.get("license")
    tagged = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    name = metadata.get("license_name") if identifier in {None, "other"} else None
    found = name or identifier or tagged
    return ", ".join(map(str, found)) if isinstance(found, list) else str(found)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - YAML of other people


def _checkpoints(reference: HubReference, files: tuple[str, ...]) -> str:
    """Return the checkpoints at the root of a repository as what may be given instead."""
    found = [f"{reference.repository}/{file}" for file in files if "/" not in file and file.endswith(".safetensors")]
    return f"; its single files: {', '.join(found[:5])}" if found else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
