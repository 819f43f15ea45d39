"""API keys: their form, and the file of them that `imagegen keys` writes and the router reads.

A key is ``sk-imagegen-ID-SECRET``: the id finds it in the file and stands in logs, the secret is 32 random bytes. The
file holds no secret: only the SHA-256 of each whole key, of which 32 random bytes need no slow one.
"""

import hashlib
import secrets
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from imagegen_contract.edited_text import FileError, TextError, decode_json, read_file
from imagegen_contract.validation import violation

PREFIX = "sk-imagegen-"
_ID_BYTES = 5
_SECRET_BYTES = 32


class KeysError(ValueError):
    """A file of keys that cannot be used; the message says where and why."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One entry of the file."""

    id: Annotated[
        str,
        Meta(
            pattern=r"^[0-9a-f]{10}\Z",
            description="Part of the key, and its name in logs",
            extra={"allowed": "ten digits or letters a to f, as in the key"},
        ),
    ]
    name: Annotated[str, Meta(min_length=1, max_length=100, description="Whose it is, for people")]
    sha256: Annotated[
        str,
        Meta(
            pattern=r"^[0-9a-f]{64}\Z",
            description="Of the whole key",
            extra={"allowed": "the SHA-256 of the whole key, 64 digits or letters a to f"},
        ),
    ]
    requests_per_minute: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Requests a minute; no limit when left out")
    ] = None
    concurrency: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Requests that wait or run at once; no limit when left out")
    ] = None


def new_key(name: str, requests_per_minute: float | None = None, concurrency: int | None = None) -> tuple[str, ApiKey]:
    """Return a new key, which is shown once, and its entry."""
    identity = secrets.token_hex(_ID_BYTES)
    key = f"{PREFIX}{identity}-{secrets.token_urlsafe(_SECRET_BYTES)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    return key, ApiKey(
        id=identity, name=name, sha256=digest, requests_per_minute=requests_per_minute, concurrency=concurrency
    )


def key_id(key: str) -> str:
    """Return the id in a key, "" when it has not the form of one."""
    return key.removeprefix(PREFIX).partition("-")[0] if key.startswith(PREFIX) else ""


def load_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read the file at ``path``; raise KeysError when it cannot be read or is wrong."""
    try:
        content = read_file(path)
    except FileError as error:
        raise KeysError(f"{path}: {error}") from None
    return parse_keys(content, str(path))


def parse_keys(content: bytes, where: str) -> tuple[ApiKey, ...]:
    """Decode a file of keys, a JSON list. Raise KeysError, which names ``where``, the field and the rule."""
    try:
        entries = msgspec.convert(decode_json(content), list[Any])
    except msgspec.ValidationError as error:
        raise KeysError(f"{where}: {violation(error).rule}; allowed: a JSON list of keys, [] for none") from None
    except TextError as error:
        raise KeysError(f"{where}: {error}; allowed: a JSON list of keys, [] for none") from None
    keys = tuple(_key(entry, f"{where}: [{index}]") for index, entry in enumerate(entries))
    twice = {key.id for key in keys if sum(other.id == key.id for other in keys) > 1}
    if twice:
        raise KeysError(f"{where}: the id {min(twice)} stands there more than once")
    return keys


def _key(entry: object, where: str) -> ApiKey:
    try:
        return msgspec.convert(entry, ApiKey)
    except msgspec.ValidationError as error:
        broken = violation(error, ApiKey)
        raise KeysError(f"{where}{broken.path and f'.{broken.path}'}: {broken.rule}") from None


def keys_file(keys: tuple[ApiKey, ...]) -> bytes:
    """Return the file of these keys."""
    return msgspec.json.format(msgspec.json.encode(keys)) + b"\n"
