"""What the Hub refuses, and what is wrong with the way there, in words: each with what to do about it.

SourceError
    HubTrouble       may pass: tried again a few times at once, later by the model store
"""

from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import SourceError

HUB = "https://huggingface.co"
WITH_TOKEN = "set HF_TOKEN, or the setting hub_token_file"  # noqa: S105 - how to set one

_LONGEST_QUOTE = 200
_MAY_PASS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class HubTrouble(SourceError):
    """Something that may be over soon. ``retry_after`` is when the Hub says so itself, in seconds."""

    def __init__(self, message: str, reason: LoadFailure, retry_after: float | None = None) -> None:
        super().__init__(message, reason)
        self.retry_after = retry_after


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the Hub was asked for: ``file`` is "" for the repository as a whole."""

    endpoint: str
    repository: str
    revision: str = "main"
    file: str = ""
    has_token: bool = False

    @property
    def hub(self) -> str:
        """The Hub for people; another one than the usual by its host, which is all that clients need to know of it."""
        return "the Hub" if self.endpoint == HUB else f"the Hub at {urlsplit(self.endpoint).netloc}"

    def __str__(self) -> str:
        return f"hf://{self.repository}{f'/{self.file}' if self.file else ''}"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is an error: the Hub's own code (``GatedRepo``) and words, where it gives them.

    ``from_storage``: by the place that the Hub redirects to for large files, which does not know who may do what.
    """

    status: int
    code: str = ""
    words: str = ""
    retry_after: float | None = None
    from_storage: bool = False


def refused(asked: Asked, refusal: Refusal) -> SourceError:
    """Return what an error status means."""
    status = refusal.status
    if status in _MAY_PASS or status >= HTTPStatus.INTERNAL_SERVER_ERROR or refusal.from_storage:
        return _passing(asked, refusal)
    if refusal.code == "GatedRepo":
        return SourceError(_gated(asked), LoadFailure.ACCESS_DENIED)
    if status == HTTPStatus.NOT_FOUND or refusal.code == "RepoNotFound":
        return SourceError(_not_found(asked, refusal))
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return SourceError(_denied(asked, refusal), LoadFailure.ACCESS_DENIED)
    return SourceError(f"{asked}: {asked.hub} answers {status}{_quoted(refusal)}", LoadFailure.HUB_ERROR)


def unreachable(asked: Asked, error: Exception, read_timeout: float) -> HubTrouble:
    """Return what an error of the connection means."""
    kind = type(error).__name__
    if kind in {"ReadTimeout", "WriteTimeout", "PoolTimeout"}:
        words = f"nothing came for {read_timeout:g} s"
    elif kind == "ConnectTimeout":
        words = f"no connection within {read_timeout:g} s"
    else:
        # Only the first line, and no address: that of a file's storage carries a signature.
        words = next(iter(str(error).splitlines()), kind)
        words = kind if "://" in words else words[:_LONGEST_QUOTE]
    return HubTrouble(
        f"{asked}: {asked.hub} cannot be reached: {words}; check the network, HTTPS_PROXY and hub_endpoint",
        LoadFailure.HUB_UNREACHABLE,
    )


def no_hub(asked: Asked) -> SourceError:
    """Return the error for answers that no Hub gives."""
    return SourceError(
        f"{asked}: what answers as {asked.hub} does not speak its protocol (a proxy's or a hotel's log-in page?); "
        "check the network and hub_endpoint",
        LoadFailure.HUB_ERROR,
    )


def unannounced(repository: str, path: str) -> SourceError:
    """Return the error for a file that cannot be checked, since size or checksum are not announced."""
    return SourceError(
        f"hf://{repository}/{path}: the Hub announces no size or no checksum of it, so it cannot be checked; "
        "a mirror may leave them out: then set hub_endpoint to another one",
        LoadFailure.HUB_ERROR,
    )


def corrupt(repository: str, path: str) -> SourceError:
    """Return the error for a file that is not what the Hub announced."""
    return SourceError(
        f"hf://{repository}/{path} arrived with another size or checksum than the Hub announces; it was removed, and "
        "the next try downloads it again",
        LoadFailure.CHECKSUM_MISMATCH,
    )


def _passing(asked: Asked, refusal: Refusal) -> HubTrouble:
    where = "the storage of the Hub" if refusal.from_storage else asked.hub
    later = f" and asks to wait {refusal.retry_after:g} s" if refusal.retry_after is not None else ""
    if refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
        message = f"{asked}: {where} has had too many requests from here (429){later}"
        message += "" if asked.has_token else f"; more are allowed with a token: {WITH_TOKEN}"
    else:
        message = f"{asked}: {where} answers {refusal.status}{later}; try again later"
    return HubTrouble(message, LoadFailure.HUB_ERROR, refusal.retry_after)


def _gated(asked: Asked) -> str:
    page = f"{HUB}/{asked.repository}"
    if asked.has_token:
        return f"{asked} is gated, and the account of the token has no access: accept the terms on {page} with it"
    return f"{asked} is gated, and no token is set: accept the terms on {page}, then {WITH_TOKEN}"


def _denied(asked: Asked, refusal: Refusal) -> str:
    if not asked.has_token:
        return f"{asked}: {asked.hub} gives it only to who has a token; {WITH_TOKEN}{_quoted(refusal)}"
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        return (
            f"{asked}: the Hub does not take the token: it is invalid or has expired; "
            f"make one at {HUB}/settings/tokens, then {WITH_TOKEN}"
        )
    return f"{asked}: the token does not give access to it; give it read access to this repository{_quoted(refusal)}"


def _not_found(asked: Asked, refusal: Refusal) -> str:
    if refusal.code == "RevisionNotFound":
        return f"{asked} has no revision {asked.revision!r}; field revision of the entry is a branch, tag or commit"
    if refusal.code == "EntryNotFound":
        return f"{asked}: there is no such file in revision {asked.revision}"
    if asked.has_token:
        return f"{asked}: {asked.hub} has no such repository, or the token's account may not see it; check the name"
    return f"{asked}: {asked.hub} has no such repository, or it is private: check the name, or {WITH_TOKEN}"


def _quoted(refusal: Refusal) -> str:
    """Return the Hub's own words as the end of a sentence, "" where it gives none."""
    words = refusal.words[:_LONGEST_QUOTE]
    return f" (the Hub says: {words})" if words and words.isprintable() else ""
